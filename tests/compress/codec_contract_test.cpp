// What codec.hpp promises, for every codec.

#include <gtest/gtest.h>

#include <algorithm>

#include "codec_test_data.hpp"

namespace gradwire::compress {
namespace {

class CodecContract : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<const Codec> codec_ = make_codec(GetParam());
};

TEST_P(CodecContract, ResidualIsWhatWasLost) {
  for (const std::size_t count : {1, 17, 256, 600}) {
    for (const float scale : {1.0F, 0.25F}) {
      const Floats value = normal_floats(count, 1);
      const Floats residual = normal_floats(count, 2, 0.1F);
      Floats after(count);
      const Bytes payload = encode(*codec_, {value.data(), residual.data(), after.data(), count, scale});
      const Floats decoded = decode(*codec_, payload, count);
      for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(after[i], (value[i] + residual[i]) - decoded[i] * (1.0F / scale));
      }
    }
  }
}

TEST_P(CodecContract, NullResidualsAreZeros) {
  for (const std::size_t count : {1, 250, 256, 700}) {
    const Floats value = wild(count, 1, 100.0F);
    const Floats zeros(count, 0.0F);
    Floats with(count);
    Floats without(count);
    const Bytes a = encode(*codec_, {value.data(), zeros.data(), with.data(), count, 1.0F});
    const Bytes b = encode(*codec_, {value.data(), nullptr, without.data(), count, 1.0F});
    const Bytes c = encode(*codec_, {value.data(), nullptr, nullptr, count, 1.0F});
    EXPECT_EQ(b, c) << "dropping the loss changes nothing on the wire";
    EXPECT_EQ(decode(*codec_, a, count), decode(*codec_, b, count));
    EXPECT_EQ(patterns(with), patterns(without));
    if (!codec_->identity()) {
      EXPECT_EQ(a, b);
    }
  }
}

TEST_P(CodecContract, DecodeAddIsAssignThenAdd) {
  for (const std::size_t count : {0, 1, 31, 256, 999}) {
    const Floats value = normal_floats(count, 1);
    const Bytes payload = encode(*codec_, {value.data(), nullptr, nullptr, count, 1.0F});
    const Floats decoded = decode(*codec_, payload, count);
    for (const float factor : {1.0F, 3.0F}) {
      Floats sum = normal_floats(count, 3);
      Floats expected = sum;
      for (std::size_t i = 0; i < count; ++i) expected[i] += decoded[i] * factor;
      codec_->decode_add(payload, sum.data(), count, factor);
      EXPECT_EQ(patterns(sum), patterns(expected));
    }
  }
}

TEST_P(CodecContract, FusedEqualsAddThenEncode) {
  for (const std::size_t count : {0, 1, 16, 255, 256, 257, 2000}) {
    for (const float scale : {1.0F, 1.0F / 3.0F}) {
      for (const float factor : {1.0F, 3.0F}) {
        for (const bool feedback : {true, false}) {
          const Floats value = normal_floats(count, 1);
          const Bytes incoming =
              encode(*codec_, {normal_floats(count, 2).data(), nullptr, nullptr, count, 1.0F});
          Floats sum = value;
          Floats residual = normal_floats(count, 3);
          codec_->decode_add(incoming, sum.data(), count, factor);
          Floats expected_residual(count);
          const Bytes expected = encode(*codec_, {sum.data(), feedback ? residual.data() : nullptr,
                                                  expected_residual.data(), count, scale});

          Floats fused_value = value;
          Floats fused_residual(count);
          Bytes fused(codec_->max_payload(count));
          const Encode in{fused_value.data(), feedback ? residual.data() : nullptr, fused_residual.data(),
                          count, scale};
          const Encoded encoded = codec_->add_then_encode(incoming, factor, in, fused.data());
          EXPECT_EQ(encoded.bytes, expected.size());
          EXPECT_EQ(fused, expected);
          EXPECT_EQ(patterns(fused_residual), patterns(expected_residual));
        }
      }
    }
  }
}

TEST_P(CodecContract, ValidLooksAtSizeAndUnusedBits) {
  for (std::size_t count = 0; count <= 300; ++count) {
    const Floats value = normal_floats(count, 1);
    Bytes payload = encode(*codec_, {value.data(), nullptr, nullptr, count, 1.0F});
    EXPECT_TRUE(codec_->valid(payload, count));
    payload.push_back(std::byte{0});
    EXPECT_FALSE(codec_->valid(payload, count));
    if (count == 0) continue;
    payload.pop_back();
    payload.pop_back();
    EXPECT_FALSE(codec_->valid(payload, count));
  }
  for (const std::size_t count :
       {std::size_t{1} << 40U, ~std::size_t{0}, ~std::size_t{0} / 2 + 2, ~std::size_t{0} / 4 + 1}) {
    EXPECT_FALSE(codec_->valid(Bytes(36), count));
    EXPECT_FALSE(codec_->valid({}, count));
  }
  if (codec_->id() != CodecId::onebit) return;
  for (std::size_t count = 1; count <= 300; ++count) {
    const Floats value = normal_floats(count, 1);
    const Bytes payload = encode(*codec_, {value.data(), nullptr, nullptr, count, 1.0F});
    for (std::size_t bit = count % 8; bit > 0 && bit < 8; ++bit) {
      Bytes spoilt = payload;
      spoilt.back() |= std::byte{1} << bit;
      EXPECT_FALSE(codec_->valid(spoilt, count)) << "bit " << bit << " of " << count;
    }
  }
}

TEST_P(CodecContract, AnyAlignment) {
  const std::size_t count = 600;
  const Floats value = normal_floats(count, 1);
  const Bytes expected = encode(*codec_, {value.data(), nullptr, nullptr, count, 1.0F});
  for (std::size_t shift = 0; shift < 65; ++shift) {
    Bytes buffer(expected.size() + shift);
    codec_->encode({value.data(), nullptr, nullptr, count, 1.0F}, buffer.data() + shift);
    EXPECT_TRUE(
        std::equal(expected.begin(), expected.end(), buffer.begin() + static_cast<std::ptrdiff_t>(shift)));
    Floats out(count);
    codec_->decode_assign(std::span(buffer).subspan(shift), out.data(), count);
    EXPECT_EQ(patterns(out), patterns(decode(*codec_, expected, count)));
  }
}

TEST_P(CodecContract, AnyBytesOfTheRightLengthStayInTheirPlace) {
  std::mt19937 engine(1);
  constexpr float kGuard = 12345.0F;
  constexpr std::size_t kMargin = 32;  // more than a vector
  for (const std::size_t count : {1, 7, 8, 15, 31, 250, 256, 300, 1030}) {
    Bytes payload(codec_->max_payload(count));
    for (int round = 0; round < 20; ++round) {
      // Scales that are NaN, infinite or denormal among them.
      for (std::byte& byte : payload) byte = static_cast<std::byte>(engine());
      if (codec_->id() == CodecId::onebit && count % 8 != 0)
        payload.back() &= std::byte{0xFF} >> (8 - count % 8);
      ASSERT_TRUE(codec_->valid(payload, count));
      const auto guarded = [&](auto&& write) {
        Floats out(count + 2 * kMargin, kGuard);
        write(out.data() + kMargin);
        for (std::size_t i = 0; i < kMargin; ++i) {
          ASSERT_EQ(out[i], kGuard) << "count " << count;
          ASSERT_EQ(out[kMargin + count + i], kGuard) << "count " << count;
        }
      };
      guarded([&](float* out) { codec_->decode_assign(payload, out, count); });
      guarded([&](float* out) { codec_->decode_add(payload, out, count, 3.0F); });
      const Floats value = normal_floats(count, 1);
      Bytes forwarded(codec_->max_payload(count));
      guarded([&](float* residual) {
        codec_->add_then_encode(payload, 1.0F, {value.data(), residual, residual, count, 1.0F},
                                forwarded.data());
      });
      EXPECT_TRUE(codec_->valid(forwarded, count)) << "whatever came in, what goes out is a payload";
    }
  }
}

std::string name_of(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Codecs, CodecContract, testing::ValuesIn(all_specs()), name_of);

TEST(PlainCodec, IsBitExact) {
  Floats values = wild(1000, 1, std::numeric_limits<float>::max());
  values[7] = std::bit_cast<float>(0x7FA00001U);  // a signalling NaN
  values[8] = -std::numeric_limits<float>::infinity();
  const auto codec = make_codec("none");
  bool finite = false;
  const Bytes payload = encode(*codec, {values.data(), nullptr, nullptr, values.size(), 1.0F}, &finite);
  EXPECT_TRUE(finite) << "none never looks";
  ASSERT_EQ(payload.size(), values.size() * sizeof(float));
  EXPECT_EQ(std::memcmp(payload.data(), values.data(), payload.size()), 0);
  EXPECT_EQ(patterns(decode(*codec, payload, values.size())), patterns(values));
}

TEST(PlainCodec, FlushesTheResidual) {
  const Floats values = normal_floats(100, 1);
  Floats residual = normal_floats(100, 2);
  const Floats before = residual;
  const auto codec = make_codec("none");
  const Floats sent =
      decode(*codec, encode(*codec, {values.data(), residual.data(), residual.data(), 100, 1.0F}), 100);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(sent[i], values[i] + before[i]);
    EXPECT_EQ(residual[i], 0.0F);
  }
}

TEST(PlainCodec, EncodesInPlace) {
  Floats values = normal_floats(100, 1);
  const Floats before = values;
  make_codec("none")->encode({values.data(), nullptr, nullptr, 100, 1.0F},
                             reinterpret_cast<std::byte*>(values.data()));
  EXPECT_EQ(values, before);
}

}  // namespace
}  // namespace gradwire::compress
