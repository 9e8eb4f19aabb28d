// Every instruction set that this processor has, against the scalar definition: payloads, residuals and
// decoded values must agree to the bit.

#include "compress/simd_targets.hpp"
// Highway's list of targets depends on the lines above.
#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <algorithm>
#include <memory>
#include <tuple>

#include "encoding_case.hpp"
#include "tests/support/quick.hpp"

namespace gradwire::compress {
namespace {

/// Makes the dynamic dispatch choose one target while it lives.
class ForcedTarget {
 public:
  explicit ForcedTarget(std::int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
  }
  ~ForcedTarget() {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
  ForcedTarget(const ForcedTarget&) = delete;
  ForcedTarget& operator=(const ForcedTarget&) = delete;
};

std::vector<std::size_t> lengths() {
  std::vector<std::size_t> all;
  for (std::size_t n = 0; n <= 600; n += quick() ? 13 : 1) all.push_back(n);
  for (const std::size_t n : {1023, 1024, 1025, 2048, 4096 + 3}) all.push_back(n);
  return all;
}

class SimdAgreement : public testing::TestWithParam<std::tuple<std::int64_t, std::string>> {
 protected:
  void SetUp() override {
    const auto& [target, spec] = GetParam();
    forced_ = std::make_unique<ForcedTarget>(target);
    fast_ = make_codec(spec);
    reference_ = make_reference_codec(spec);
  }

  void compare_encoding(const Work& work) {
    for (const Mode mode : {Mode::no_feedback, Mode::from_nothing, Mode::in_place, Mode::shadow}) {
      const Outcome expected = run(*reference_, work, mode);
      const Outcome actual = run(*fast_, work, mode);
      ASSERT_TRUE(actual == expected) << "count " << work.value.size() << ", mode " << static_cast<int>(mode)
                                      << ", scale " << work.scale << ", added " << !work.addend.empty();
    }
  }

  void compare_decoding(const Bytes& payload, std::size_t count) {
    EXPECT_EQ(patterns(decode(*fast_, payload, count)), patterns(decode(*reference_, payload, count)));
    for (const float factor : {1.0F, 3.0F}) {
      Shifted expected(wild(count, 5), 1);
      Shifted actual(expected.copy(), 1);
      reference_->decode_add(payload, expected.data(), count, factor);
      fast_->decode_add(payload, actual.data(), count, factor);
      ASSERT_EQ(patterns_any_nan(actual.copy()), patterns_any_nan(expected.copy())) << "count " << count;
    }
  }

  std::unique_ptr<ForcedTarget> forced_;
  std::shared_ptr<const Codec> fast_;
  std::shared_ptr<const Codec> reference_;
};

TEST_P(SimdAgreement, EveryLength) {
  for (const std::size_t count : lengths()) {
    const auto seed = static_cast<unsigned>(count);
    for (const float scale : {1.0F, 1.0F / 3.0F}) {
      Work work{normal_floats(count, seed), normal_floats(count, seed + 1), scale, {}, count % 5};
      compare_encoding(work);
      work.addend = encode(*reference_, {normal_floats(count, 3).data(), nullptr, nullptr, count, scale});
      compare_encoding(work);
      compare_decoding(work.addend, count);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(SimdAgreement, EveryMagnitude) {
  for (const std::size_t count : {1, 15, 256, 257, 1024, 3000}) {
    for (unsigned seed = 0; seed < (quick() ? 1U : 6U); ++seed) {
      for (const float largest : {1e-38F, 1.0F, 7e4F, 1e30F, std::numeric_limits<float>::max()}) {
        for (const float scale : {1.0F, 1.0F / 3.0F}) {
          Work work{wild(count, seed, largest), wild(count, seed + 100, largest), scale, {}, seed % 3};
          compare_encoding(work);
          work.addend =
              encode(*reference_, {wild(count, seed + 200, largest).data(), nullptr, nullptr, count, scale});
          compare_encoding(work);
          compare_decoding(work.addend, count);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(SimdAgreement, ZerosOfBothSigns) {
  for (const std::size_t count : {16, 256, 1000, 2048}) {
    for (const float zero : {0.0F, -0.0F}) {
      compare_encoding({Floats(count, zero), Floats(count, -0.0F), 1.0F, {}, 0});
      compare_encoding({Floats(count, zero), Floats(count, 0.0F), 1.0F / 3.0F, {}, 0});
    }
  }
}

TEST_P(SimdAgreement, NotFinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float poison : {std::nanf(""), -std::nanf("7"), infinity, -infinity}) {
    for (const std::size_t at : {std::size_t{0}, std::size_t{255}, std::size_t{700}, std::size_t{1030}}) {
      Work work{normal_floats(1031, 1), normal_floats(1031, 2), 1.0F, {}, 0};
      work.value[at] = poison;
      compare_encoding(work);
      work.scale = 1.0F / 3.0F;
      compare_encoding(work);
      compare_decoding(encode(*reference_, {work.value.data(), nullptr, nullptr, 1031, 1.0F}), 1031);
    }
  }
}

TEST_P(SimdAgreement, ManyBlocks) {
  // bfloat16 hides most differences in the order of summation: it takes many blocks to see one. Also long
  // enough for streaming stores, aligned and not.
  const std::size_t count = 70000;
  for (const std::size_t shift : {0, 1, 4, 8}) {
    const auto seed = static_cast<unsigned>(shift);
    Work work{normal_floats(count, seed), normal_floats(count, seed + 1), 1.0F, {}, shift};
    work.value[300] = std::nanf("");
    compare_encoding(work);
    work.addend = encode(*reference_, {normal_floats(count, 3).data(), nullptr, nullptr, count, 1.0F});
    compare_encoding(work);
    compare_decoding(work.addend, count);
  }
}

TEST_P(SimdAgreement, ArbitraryPayloadsDecodeAlike) {
  std::mt19937 engine(1);
  for (const std::size_t count : {1, 8, 31, 256, 300, 2000}) {
    for (int round = 0; round < 50; ++round) {
      Bytes payload(fast_->max_payload(count));
      for (std::byte& byte : payload) byte = static_cast<std::byte>(engine());
      compare_decoding(payload, count);
    }
  }
}

std::string name_of(const testing::TestParamInfo<std::tuple<std::int64_t, std::string>>& info) {
  std::string name = hwy::TargetName(std::get<0>(info.param)) + ("_" + std::get<1>(info.param));
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

class FinishSum : public testing::TestWithParam<std::int64_t> {};

TEST_P(FinishSum, IsTheSumAndLooksWhereAsked) {
  const ForcedTarget forced(GetParam());
  const float infinity = std::numeric_limits<float>::infinity();
  for (std::size_t count = 0; count < 70; ++count) {
    for (const float poison : {0.0F, std::nanf(""), infinity, -infinity}) {
      for (const float scale : {1.0F, 0.25F}) {
        for (const Mode mode : {Mode::no_feedback, Mode::from_nothing, Mode::in_place, Mode::shadow}) {
          const bool fed = mode == Mode::in_place || mode == Mode::shadow;
          const Floats value = [&] {
            Floats values = normal_floats(count, 1);
            if (count > 0) values[count * 5 / 7] = poison;
            return values;
          }();
          const Floats before = normal_floats(count, 2);
          Floats expected(count);
          Floats flushed(count);
          bool all_finite = true;
          for (std::size_t i = 0; i < count; ++i) {
            const float v = fed ? value[i] + before[i] : value[i];
            expected[i] = v * scale;
            flushed[i] = std::isfinite(v) || !fed ? 0.0F : before[i];
            all_finite = all_finite && std::isfinite(v);
          }
          for (const bool look : {true, false}) {
            Floats sum = value;
            Floats residual = before;
            Floats shadow(count, -7.0F);
            Floats& kept = mode == Mode::in_place ? residual : shadow;
            const Encode in{sum.data(), fed ? residual.data() : nullptr,
                            mode == Mode::no_feedback ? nullptr : kept.data(), count, scale};
            EXPECT_EQ(finish_sum(in, sum.data(), look), !look || all_finite);
            ASSERT_EQ(patterns_any_nan(sum), patterns_any_nan(expected)) << "count " << count;
            if (mode == Mode::no_feedback) continue;
            ASSERT_EQ(kept, look ? flushed : Floats(count, 0.0F)) << "count " << count;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FinishSum, testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

INSTANTIATE_TEST_SUITE_P(Targets, SimdAgreement,
                         testing::Combine(testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                                          testing::ValuesIn(all_specs())),
                         name_of);

}  // namespace
}  // namespace gradwire::compress
