// The kernels against the scalar definition: payloads, residuals, decoded values and flags must agree to the
// bit. Built twice: for a CUDA device, skipped with the reason where there is none, and for the CUDA that
// runs on the host (cuda_on_host/).

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "compress/cuda/device_codec.hpp"
#include "encoding_case.hpp"
#include "on_device_memory.hpp"
#include "tests/support/quick.hpp"

namespace gradwire::compress {
namespace {

#ifdef GRADWIRE_CUDA_ON_HOST
// Fibers are slow. Larger blocks take the path of these.
constexpr int kMostBlock = 4096;
constexpr std::size_t kMany = 30000;
#else
constexpr int kMostBlock = 65536;
constexpr std::size_t kMany = 300000;
#endif

/// How far the arrays' starts lie beyond aligned ones: floats, floats, bytes.
struct Shifts {
  std::size_t value = 0;
  std::size_t residual = 0;
  std::size_t payload = 0;
};

constexpr Shifts kAligned{};
constexpr Shifts kShiftedAlike{1, 1, 2};
constexpr Shifts kAllShifts[] = {kAligned, kShiftedAlike, {3, 3, 12}, {0, 0, 9}, {1, 2, 4}, {0, 3, 1}};

/// Every block size of a 1-bit codec; other codecs are families of one.
std::vector<std::string> specs_of(const std::string& family) {
  if (!family.starts_with("onebit")) return {family};
  std::vector<std::string> specs;
  for (int block = 16; block <= kMostBlock; block *= quick() ? 16 : 2) {
    specs.push_back(fmt::format("{},block={}", family, block));
  }
  return specs;
}

class DeviceAgreement : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
    stream_ = std::make_unique<OwnStream>();
    flag_ = std::make_unique<NonFiniteFlag>();
  }

  /// All codecs of the family, one after the other, until a test fails.
  template <class Body>
  void for_each_codec(Body body) {
    for (const std::string& spec : specs_of(GetParam())) {
      SCOPED_TRACE(spec);
      device_ = make_device_codec(spec);
      reference_ = make_reference_codec(spec);
      body();
      if (HasFatalFailure()) return;
    }
  }

  Outcome run_on_device(const Work& work, Mode mode, const Shifts& shifts) {
    const std::size_t count = work.value.size();
    OnDevice value(*stream_, work.value, shifts.value);
    OnDevice residual(*stream_, work.residual, shifts.residual);
    OnDevice shadow(*stream_, Floats(count, -7.0F), shifts.residual);
    const Bytes blank(reference_->max_payload(count), kGuard);
    OnDevice payload(*stream_, blank.data(), blank.size(), shifts.payload);
    OnDevice addend(*stream_, work.addend.data(), work.addend.size(), shifts.payload);

    Encode in{value.floats(), nullptr, nullptr, count, work.scale};
    if (mode == Mode::in_place || mode == Mode::shadow) in.residual = residual.floats();
    if (mode == Mode::in_place) in.residual_out = residual.floats();
    if (mode == Mode::shadow || mode == Mode::from_nothing) in.residual_out = shadow.floats();
    const Launch launch{stream_->get(), flag_->word()};
    flag_->clear_on(launch.stream);
    if (work.addend.empty()) {
      device_->encode(in, payload.bytes(), launch);
    } else {
      device_->add_then_encode(addend.bytes(), 1.0F / work.scale, in, payload.bytes(), launch);
    }
    flag_->fetch_on(launch.stream);

    Outcome outcome;
    outcome.payload = payload.fetch();
    if (reference_->identity()) outcome.payload = with_one_nan(outcome.payload);
    outcome.residual = mode == Mode::in_place ? residual.fetch_floats() : shadow.fetch_floats();
    outcome.finite = !flag_->raised();
    EXPECT_EQ(patterns(value.fetch_floats()), patterns(work.value)) << "the input changed";
    EXPECT_EQ(addend.fetch(), work.addend) << "the addend changed";
    return outcome;
  }

  void compare_encoding(const Work& work, const Shifts& shifts) {
    for (const Mode mode : {Mode::no_feedback, Mode::from_nothing, Mode::in_place, Mode::shadow}) {
      const Outcome expected = run(*reference_, work, mode);
      const Outcome actual = run_on_device(work, mode, shifts);
      const std::string where = fmt::format(
          "count {}, mode {}, scale {}, added {}, shifts {} {} {}", work.value.size(), static_cast<int>(mode),
          work.scale, !work.addend.empty(), shifts.value, shifts.residual, shifts.payload);
      ASSERT_EQ(actual.payload, expected.payload) << where;
      ASSERT_EQ(patterns(actual.residual), patterns(expected.residual)) << where;
      ASSERT_EQ(actual.finite, expected.finite) << where;
    }
  }

  void compare_decoding(const Bytes& payload, std::size_t count, const Shifts& shifts) {
    OnDevice frame(*stream_, payload.data(), payload.size(), shifts.payload);
    OnDevice assigned(*stream_, Floats(count, -7.0F), shifts.value);
    device_->decode_assign(frame.bytes(), assigned.floats(), count, stream_->get());
    ASSERT_EQ(patterns(assigned.fetch_floats()), patterns(decode(*reference_, payload, count)))
        << "count " << count;
    for (const float factor : {1.0F, 3.0F}) {
      Floats expected = wild(count, 5);
      OnDevice sum(*stream_, expected, shifts.value);
      reference_->decode_add(payload, expected.data(), count, factor);
      device_->decode_add(frame.bytes(), sum.floats(), count, factor, stream_->get());
      ASSERT_EQ(patterns_any_nan(sum.fetch_floats()), patterns_any_nan(expected)) << "count " << count;
    }
    EXPECT_EQ(frame.fetch(), payload) << "the payload changed";
  }

  /// The scalar codec's payload of other values.
  Bytes payload_of(const Floats& values, float scale) {
    return encode(*reference_, {values.data(), nullptr, nullptr, values.size(), scale});
  }

  void compare_all(Work work, const Floats& added, const Shifts& shifts) {
    compare_encoding(work, shifts);
    if (HasFatalFailure()) return;
    work.addend = payload_of(added, work.scale);
    compare_encoding(work, shifts);
    if (HasFatalFailure()) return;
    compare_decoding(work.addend, work.value.size(), shifts);
  }

  /// Around the sizes at which the kernels change what they do.
  std::vector<std::size_t> lengths() {
    std::vector<std::size_t> all{0, 1, 3, 4, 5, 31, 33, 127, 128, 129, 1023, 1024, 1025, 4096 + 3};
    const std::size_t block = reference_->block();
    for (const std::size_t tile : {block, std::max<std::size_t>(block, 128)}) {
      for (const std::size_t n : {tile - 1, tile, tile + 1, 2 * tile + 5, 5 * tile - 9}) all.push_back(n);
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  }

  std::unique_ptr<OwnStream> stream_;
  std::unique_ptr<NonFiniteFlag> flag_;
  std::unique_ptr<const DeviceCodec> device_;
  std::shared_ptr<const Codec> reference_;
};

TEST_P(DeviceAgreement, EveryLengthAndAlignment) {
  for_each_codec([&] {
    for (const std::size_t count : lengths()) {
      const auto seed = static_cast<unsigned>(count);
      Work work{normal_floats(count, seed), normal_floats(count, seed + 1), 1.0F, {}, 0};
      const Floats added = normal_floats(count, 3);
      for (const Shifts& shifts : kAllShifts) {
        work.scale = shifts.residual % 2 == 0 ? 1.0F / 3.0F : 1.0F;
        compare_all(work, added, shifts);
        if (HasFatalFailure()) return;
      }
    }
  });
}

TEST_P(DeviceAgreement, EveryMagnitude) {
  for_each_codec([&] {
    const std::size_t count = 3 * std::max<std::size_t>(reference_->block(), 1000) + 9;
    for (const float largest : {1e-38F, 1.0F, 7e4F, 1e30F, std::numeric_limits<float>::max()}) {
      for (const float scale : {1.0F, 1.0F / 3.0F}) {
        for (const Shifts& shifts : {kAligned, kShiftedAlike}) {
          compare_all({wild(count, 1, largest), wild(count, 100, largest), scale, {}, 0},
                      wild(count, 200, largest), shifts);
          if (HasFatalFailure()) return;
        }
      }
    }
  });
}

TEST_P(DeviceAgreement, ConstantsAndZerosOfBothSigns) {
  for_each_codec([&] {
    const std::size_t count = 2 * std::max<std::size_t>(reference_->block(), 512) + 7;
    for (const float value : {0.0F, -0.0F, 1.5F, -1e-40F}) {
      for (const float residual : {0.0F, -0.0F}) {
        for (const float scale : {1.0F, 1.0F / 3.0F}) {
          compare_all({Floats(count, value), Floats(count, residual), scale, {}, 0}, Floats(count, value),
                      kAligned);
          compare_all({Floats(count, value), Floats(count, residual), scale, {}, 0}, Floats(count, -0.0F),
                      kShiftedAlike);
          if (HasFatalFailure()) return;
        }
      }
    }
  });
}

TEST_P(DeviceAgreement, NotFinite) {
  for_each_codec([&] {
    const float infinity = std::numeric_limits<float>::infinity();
    const std::size_t count = 2 * std::max<std::size_t>(reference_->block(), 512) + 7;
    for (const float poison : {std::nanf(""), -std::nanf("7"), infinity, -infinity}) {
      for (const std::size_t at : {std::size_t{0}, count / 3, count - 1}) {
        for (const Shifts& shifts : {kAligned, kShiftedAlike}) {
          Work work{normal_floats(count, 1), normal_floats(count, 2), 1.0F / 3.0F, {}, 0};
          work.residual[at] = poison;
          compare_encoding(work, shifts);
          if (HasFatalFailure()) return;
          work.value[at] = poison;
          compare_encoding(work, shifts);
          if (HasFatalFailure()) return;
          work.residual[at] = 1.0F;
          compare_encoding(work, shifts);
          if (HasFatalFailure()) return;
          compare_decoding(payload_of(work.value, 1.0F), count, shifts);
          if (HasFatalFailure()) return;
        }
      }
    }
  });
}

TEST_P(DeviceAgreement, OrderOfSummation) {
  // A root hides such differences, and it sums as l1 does.
  if (GetParam().ends_with("l2")) return;
  for_each_codec([&] {
    // A block's mean is a tie between two bfloat16, but for two elements that are half a unit in the last
    // place of the sum each: it shows them where they come together before they come to the rest. Each two
    // levels of the tree have blocks for which it matters which of them comes first.
    constexpr float kHalfUnit = 0x1p-24F;
    const std::size_t block = reference_->block();
    const std::size_t accumulators = std::min<std::size_t>(block, 128);
    std::mt19937 engine(1);
    for (const float sign : {1.0F, -1.0F}) {
      Work work;
      for (std::size_t first = 1; first < accumulators; first *= 2) {
        for (std::size_t second = 1; second < accumulators; second *= 2) {
          Floats one(block, sign * 0x1p-60F);
          const std::size_t at = engine() % block;
          one[at ^ first] = one[at ^ first ^ second] = sign * kHalfUnit;
          one[at] = sign * 1.00390625F;
          work.value.insert(work.value.end(), one.begin(), one.end());
        }
      }
      work.residual.resize(work.value.size());
      for (const Shifts& shifts : {kAligned, kShiftedAlike}) {
        compare_encoding(work, shifts);
        if (HasFatalFailure()) return;
      }
    }
  });
}

TEST_P(DeviceAgreement, ManyBlocks) {
  for_each_codec([&] {
    const std::size_t count = std::max<std::size_t>(kMany, 5 * reference_->block()) + 77;
    for (const Shifts& shifts : {kAligned, kShiftedAlike}) {
      Work work{normal_floats(count, 8), normal_floats(count, 9), 1.0F, {}, 0};
      work.value[300] = std::nanf("");
      compare_all(work, normal_floats(count, 3), shifts);
      if (HasFatalFailure()) return;
    }
  });
}

TEST_P(DeviceAgreement, PayloadsThatAreNotFinite) {
  for_each_codec([&] {
    const std::size_t block = reference_->block();
    const std::size_t count = 2 * std::max<std::size_t>(block, 512) + 7;
    const Bytes sound = payload_of(normal_floats(count, 3), 1.0F / 3.0F);
    // Infinities of float32, bfloat16 and binary16, some of which are NaN to the others.
    for (const std::uint32_t bits : {0x7F800000U, 0xFF800000U, 0x7F80FF80U, 0x7FC13F80U, 0xFC007C00U}) {
      for (const std::size_t at : {std::size_t{0}, count / block / 2 * block, count / block * block}) {
        for (const Shifts& shifts : {kAligned, kShiftedAlike}) {
          Work work{normal_floats(count, 1), normal_floats(count, 2), 1.0F / 3.0F, sound, 0};
          // A block's scales, or a few elements, and as much as is left of them at the end.
          const std::size_t offset = reference_->max_payload(at);
          std::memcpy(work.addend.data() + offset, &bits, std::min(sizeof bits, sound.size() - offset));
          compare_encoding(work, shifts);
          if (HasFatalFailure()) return;
          compare_decoding(work.addend, count, shifts);
          if (HasFatalFailure()) return;
        }
      }
    }
  });
}

TEST_P(DeviceAgreement, ArbitraryPayloadsDecodeAlike) {
  for_each_codec([&] {
    std::mt19937 engine(1);
    for (const std::size_t count : {1, 8, 31, 256, 300, 2000}) {
      for (const Shifts& shifts : kAllShifts) {
        Bytes payload(reference_->max_payload(count));
        for (std::byte& byte : payload) byte = static_cast<std::byte>(engine());
        compare_decoding(payload, count, shifts);
        if (HasFatalFailure()) return;
        compare_encoding({normal_floats(count, 1), normal_floats(count, 2), 1.0F / 3.0F, payload, 0}, shifts);
        if (HasFatalFailure()) return;
      }
    }
  });
}

TEST_P(DeviceAgreement, TheFlagStaysUp) {
  for_each_codec([&] {
    if (!reference_->lossy()) return;
    Floats bad = normal_floats(300, 1);
    bad[17] = std::nanf("");
    OnDevice first(*stream_, bad, 0);
    OnDevice second(*stream_, normal_floats(300, 2), 0);
    const Bytes blank(reference_->max_payload(300));
    OnDevice payload(*stream_, blank.data(), blank.size(), 0);
    const Launch launch{stream_->get(), flag_->word()};
    flag_->clear_on(launch.stream);
    for (OnDevice* values : {&first, &second}) {
      device_->encode({values->floats(), nullptr, nullptr, 300, 1.0F}, payload.bytes(), launch);
    }
    flag_->fetch_on(launch.stream);
    const Event fetched;
    fetched.record(launch.stream);
    fetched.wait();
    EXPECT_TRUE(fetched.reached());
    EXPECT_TRUE(flag_->raised());
  });
}

TEST_P(DeviceAgreement, FinishSum) {
  for_each_codec([&] {
    const float infinity = std::numeric_limits<float>::infinity();
    const bool look = reference_->lossy();
    for (const std::size_t count : {0, 1, 7, 1024, 5000}) {
      for (const Shifts& shifts : kAllShifts) {
        for (const float poison : {0.0F, std::nanf(""), infinity}) {
          for (const bool fed : {true, false}) {
            Floats value = normal_floats(count, 1);
            if (count > 0) value[count * 5 / 7] = poison;
            Floats residual = normal_floats(count, 2);
            OnDevice sum(*stream_, value, shifts.value);
            OnDevice kept(*stream_, residual, shifts.residual);
            const Launch launch{stream_->get(), flag_->word()};
            flag_->clear_on(launch.stream);
            finish_sum_on_device(
                {sum.floats(), fed ? kept.floats() : nullptr, fed ? kept.floats() : nullptr, count, 0.25F},
                sum.floats(), look, launch);
            flag_->fetch_on(launch.stream);
            const Floats actual = sum.fetch_floats();
            const bool finite = finish_sum({value.data(), fed ? residual.data() : nullptr,
                                            fed ? residual.data() : nullptr, count, 0.25F},
                                           value.data(), look);
            ASSERT_EQ(patterns_any_nan(actual), patterns_any_nan(value)) << "count " << count;
            ASSERT_EQ(patterns(kept.fetch_floats()), patterns(residual)) << "count " << count;
            ASSERT_EQ(!flag_->raised(), finite) << "count " << count;
          }
        }
      }
    }
  });
}

std::string name_of(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Codecs, DeviceAgreement,
                         testing::Values("none", "fp16", "bf16", "onebit:scale=two-level", "onebit:scale=l1",
                                         "onebit:scale=l2"),
                         name_of);

}  // namespace
}  // namespace gradwire::compress
