// The 1-bit quantizer: what its payload says about the block it came from.

#include <gtest/gtest.h>

#include <algorithm>

#include "codec_test_data.hpp"
#include "compress/float_bits.hpp"

namespace gradwire::compress {
namespace {

std::uint16_t half_at(const Bytes& payload, std::size_t offset) {
  std::uint16_t half = 0;
  std::memcpy(&half, &payload[offset], sizeof half);
  return half;
}

float scale_at(const Bytes& payload, std::size_t offset) { return BFloat16::widen(half_at(payload, offset)); }

bool bit_at(const Bytes& payload, std::size_t scales, std::size_t i) {
  return (std::to_integer<unsigned>(payload[scales + i / 8]) >> (i % 8) & 1U) != 0;
}

Bytes encode_alone(const Codec& codec, const Floats& values, float scale = 1.0F) {
  return encode(codec, {values.data(), nullptr, nullptr, values.size(), scale});
}

double squared_error(const Floats& values, float lower, float upper) {
  double error = 0;
  for (const float v : values) error += std::pow(static_cast<double>(v) - (v >= 0 ? upper : lower), 2);
  return error;
}

/// The bfloat16 next to `value`, by `step` patterns.
float nudged(float value, int step) {
  return BFloat16::widen(static_cast<std::uint16_t>(BFloat16::round(value) + step));
}

TEST(Onebit, PayloadLayout) {
  // Five elements: 1, -2, -0, 3, NaN-free. Bits from the lowest: 1, 0, 1 (-0 is not below zero), 1, 0.
  const Floats values{1.0F, -2.0F, -0.0F, 3.0F, -4.0F};
  const auto codec = make_codec("onebit");
  const Bytes payload = encode_alone(*codec, values);
  const Bytes expected{std::byte{0x40}, std::byte{0xC0},  // r0 = -3 = 0xC040, little-endian
                       std::byte{0xAB}, std::byte{0x3F},  // r1 = 4/3, rounded to 0x3FAB
                       std::byte{0b01101}};
  EXPECT_EQ(payload, expected);
  EXPECT_EQ(encode_alone(*make_codec("onebit:scale=l1"), values),
            (Bytes{std::byte{0x00}, std::byte{0x40}, std::byte{0b01101}}));  // 10 / 5 = 2
  EXPECT_EQ(encode_alone(*make_codec("onebit:scale=l2"), values),
            (Bytes{std::byte{0x1D}, std::byte{0x40}, std::byte{0b01101}}));  // sqrt(30 / 5) = 2.449, 0x401D
}

TEST(Onebit, LevelsAreTheConditionalMeans) {
  const auto codec = make_codec("onebit");
  for (unsigned seed = 0; seed < 20; ++seed) {
    for (const std::size_t count : {1, 5, 200, 256}) {
      const Floats values = normal_floats(count, seed, 3.0F);
      double sum[2] = {};
      int number[2] = {};
      for (const float v : values) {
        sum[v >= 0 ? 1 : 0] += v;
        ++number[v >= 0 ? 1 : 0];
      }
      const Bytes payload = encode_alone(*codec, values);
      for (const int side : {0, 1}) {
        const double mean = number[side] == 0 ? 0.0 : sum[side] / number[side];
        // bfloat16 keeps eight bits.
        EXPECT_NEAR(scale_at(payload, static_cast<std::size_t>(2 * side)), mean,
                    std::fabs(mean) / 255 + 1e-30);
      }
    }
  }
}

TEST(Onebit, NudgingALevelNeverHelps) {
  const auto codec = make_codec("onebit");
  for (unsigned seed = 0; seed < 50; ++seed) {
    const Floats values = normal_floats(256, seed);
    const Bytes payload = encode_alone(*codec, values);
    const float lower = scale_at(payload, 0);
    const float upper = scale_at(payload, 2);
    const double best = squared_error(values, lower, upper);
    for (const int step : {-2, -1, 1, 2}) {
      EXPECT_LE(best, squared_error(values, nudged(lower, step), upper));
      EXPECT_LE(best, squared_error(values, lower, nudged(upper, step)));
    }
  }
}

TEST(Onebit, MagnitudeScales) {
  const Floats values = normal_floats(256, 1);
  double l1 = 0;
  double l2 = 0;
  for (const float v : values) {
    l1 += std::fabs(v);
    l2 += static_cast<double>(v) * v;
  }
  EXPECT_NEAR(scale_at(encode_alone(*make_codec("onebit:scale=l1"), values), 0), l1 / 256, 0.004);
  EXPECT_NEAR(scale_at(encode_alone(*make_codec("onebit:scale=l2"), values), 0), std::sqrt(l2 / 256), 0.004);
}

TEST(Onebit, EveryLengthDecodesBySide) {
  for (const std::string& spec : onebit_specs()) {
    const auto codec = make_codec(spec);
    const std::size_t scales = codec->max_payload(8) - 1;
    for (std::size_t count = 0; count <= 600; ++count) {
      const Floats values = normal_floats(count, static_cast<unsigned>(count));
      const Bytes payload = encode_alone(*codec, values);
      ASSERT_EQ(payload.size(), codec->max_payload(count));
      ASSERT_TRUE(codec->valid(payload, count));
      const Floats decoded = decode(*codec, payload, count);
      for (std::size_t i = 0; i < count; ++i) {
        ASSERT_TRUE(std::isfinite(decoded[i]));
        ASSERT_EQ(decoded[i] >= 0, values[i] >= 0) << spec << ", element " << i << " of " << count;
      }
      if (count > 0 && count <= codec->block()) {
        for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(bit_at(payload, scales, i), values[i] >= 0);
      }
    }
  }
}

TEST(Onebit, SpecialBlocksStayFinite) {
  const float denormal = std::numeric_limits<float>::denorm_min();
  const float huge = std::numeric_limits<float>::max() / 512;
  for (const std::string& spec : onebit_specs()) {
    const auto codec = make_codec(spec);
    for (const std::size_t count : {1, 7, 16, 100, 256, 257, 1024, 1300}) {
      for (const float value : {0.0F, -0.0F, 1.0F, -1.0F, denormal, -denormal, 3e-39F, 1e15F, -1e15F}) {
        const Floats values(count, value);
        Floats residual(count);
        bool finite = false;
        const Bytes payload = encode(*codec, {values.data(), nullptr, residual.data(), count, 1.0F}, &finite);
        ASSERT_TRUE(finite);
        for (const float decoded : decode(*codec, payload, count)) {
          ASSERT_TRUE(std::isfinite(decoded));
          if (value == 0.0F) {
            ASSERT_EQ(decoded, 0.0F) << "an all-zero block decodes to exact zeros";
          }
          // A constant is its own mean, up to bfloat16; l2 squares, so that tiny values vanish into the
          // residual.
          if (std::fabs(value) >= 1.0F) {
            ASSERT_NEAR(decoded, value, std::fabs(value) / 250);
          }
        }
        for (const float lost : residual) ASSERT_TRUE(std::isfinite(lost));
      }
    }
  }
  for (const char* spec : {"onebit", "onebit:scale=l1"}) {
    const auto codec = make_codec(spec);
    for (const float value : {huge, -huge}) {
      bool finite = false;
      const Floats values(256, value);
      const Floats decoded =
          decode(*codec, encode(*codec, {values.data(), nullptr, nullptr, 256, 1.0F}, &finite), 256);
      EXPECT_TRUE(finite);
      EXPECT_NEAR(decoded[0] / value, 1.0F, 0.004F);
    }
  }
}

TEST(Onebit, TheLargestFloatAloneStaysFinite) {
  // The mean rounds to infinity in bfloat16, and dividing by the scale would once more: both are clamped.
  const float largest = std::numeric_limits<float>::max();
  for (const float scale : {1.0F, 1.0F / 3.0F, 1.0F / 7.0F}) {
    for (const float value : {largest, -largest}) {
      const auto codec = make_codec("onebit");
      float residual = 0;
      bool finite = false;
      const Bytes payload = encode(*codec, {&value, nullptr, &residual, 1, scale}, &finite);
      EXPECT_TRUE(finite);
      EXPECT_TRUE(std::isfinite(decode(*codec, payload, 1)[0]));
      EXPECT_TRUE(std::isfinite(residual));
    }
  }
}

TEST(Onebit, OneSidedBlocks) {
  Floats values = normal_floats(256, 1);
  for (float& value : values) value = std::fabs(value) + 0.1F;
  Bytes payload = encode_alone(*make_codec("onebit"), values);
  EXPECT_EQ(half_at(payload, 0), 0) << "an empty side is +0";
  EXPECT_GT(scale_at(payload, 2), 0.0F);
  for (float& value : values) value = -value;
  payload = encode_alone(*make_codec("onebit"), values);
  EXPECT_EQ(half_at(payload, 2), 0);
  EXPECT_LT(scale_at(payload, 0), 0.0F);
}

TEST(Onebit, TheTailKeepsOutOfTheScales) {
  // A short block's mean is over its own elements, not over the block size.
  const Floats values(3, 5.0F);
  for (const std::string& spec : onebit_specs()) {
    EXPECT_EQ(decode(*make_codec(spec), encode_alone(*make_codec(spec), values), 3)[0], 5.0F) << spec;
  }
}

TEST(Onebit, ScaleAppliesToWhatIsSent) {
  const Floats values = normal_floats(256, 1);
  for (const std::string& spec : onebit_specs()) {
    const auto codec = make_codec(spec);
    const Floats whole = decode(*codec, encode_alone(*codec, values), values.size());
    const Floats quarter = decode(*codec, encode_alone(*codec, values, 0.25F), values.size());
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(quarter[i], 0.25F * whole[i]);
  }
}

TEST(Onebit, BlocksAreIndependent) {
  // A payload is its blocks' payloads, one after the other.
  for (const std::string& spec : onebit_specs()) {
    const auto codec = make_codec(spec);
    const std::size_t block = codec->block();
    const Floats values = normal_floats(3 * block + 5, 1);
    Bytes joined;
    for (std::size_t first = 0; first < values.size(); first += block) {
      const std::size_t count = std::min(block, values.size() - first);
      const Bytes part = encode(*codec, {&values[first], nullptr, nullptr, count, 1.0F});
      joined.insert(joined.end(), part.begin(), part.end());
    }
    EXPECT_EQ(joined, encode_alone(*codec, values)) << spec;
  }
}

TEST(Onebit, NotFiniteIsFlaggedAndStaysInItsBlock) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::string& spec : onebit_specs()) {
    const auto codec = make_codec(spec);
    const std::size_t block = codec->block();
    for (const float poison : {std::nanf(""), infinity, -infinity}) {
      Floats values = normal_floats(3 * block, 1);
      values[block + 3] = poison;
      const Floats before = normal_floats(3 * block, 2);
      Floats after = before;
      bool finite = true;
      const Bytes payload =
          encode(*codec, {values.data(), after.data(), after.data(), values.size(), 1.0F}, &finite);
      EXPECT_FALSE(finite);
      EXPECT_TRUE(codec->valid(payload, values.size()));
      const Floats decoded = decode(*codec, payload, values.size());
      for (std::size_t i = 0; i < values.size(); ++i) {
        const bool poisoned = i / block == 1;
        ASSERT_EQ(std::isnan(decoded[i]), poisoned) << spec << " at " << i;
        if (poisoned) {
          ASSERT_EQ(after[i], before[i]) << "the residual of a block that is not finite is kept";
        } else {
          ASSERT_EQ(after[i], values[i] + before[i] - decoded[i]);
        }
      }
    }
  }
}

TEST(Onebit, GaussianSquaredError) {
  // 1 - 2/pi = .363 of the variance is what one optimal bit leaves.
  const std::size_t count = std::size_t{1} << 20U;
  const Floats values = normal_floats(count, 1, 0.01F);
  for (const char* spec : {"onebit", "onebit:scale=l1", "onebit:block=4096", "onebit:block=128"}) {
    const auto codec = make_codec(spec);
    const Floats decoded = decode(*codec, encode_alone(*codec, values), count);
    double error = 0;
    double power = 0;
    for (std::size_t i = 0; i < count; ++i) {
      error += std::pow(static_cast<double>(values[i]) - decoded[i], 2);
      power += std::pow(static_cast<double>(values[i]), 2);
    }
    EXPECT_NEAR(error / power, 0.363, 0.01) << spec;
  }
}

}  // namespace
}  // namespace gradwire::compress
