// The 16-bit conversions against the processor's own, and the array versions against the scalar ones.

#include <gtest/gtest.h>

#include <cfenv>

#include "codec_test_data.hpp"
#include "compress/convert.hpp"
#include "compress/float_bits.hpp"

namespace gradwire::compress {
namespace {

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

/// Rounds by definition: the neighbour that is nearer, the even one in a tie. Neighbours come from widen(),
/// which the tests below check by itself.
template <class Format>
std::uint16_t nearest_even(float value) {
  // Positive patterns are ordered as their values are.
  const double magnitude = std::fabs(static_cast<double>(value));
  std::uint16_t low = 0;
  std::uint16_t high = Format::round(std::numeric_limits<float>::infinity());
  const std::uint16_t infinity = high;
  while (high - low > 1) {
    const auto middle = static_cast<std::uint16_t>((low + high) / 2);
    (static_cast<double>(Format::widen(middle)) <= magnitude ? low : high) = middle;
  }
  const double below = Format::widen(low);
  // The step beyond the largest finite value is as wide as the one before it.
  const double above =
      high == infinity ? 2 * below - static_cast<double>(Format::widen(static_cast<std::uint16_t>(low - 1)))
                       : static_cast<double>(Format::widen(high));
  const double up = above - magnitude;
  const double down = magnitude - below;
  const std::uint16_t chosen = down < up || (down == up && low % 2 == 0) ? low : high;
  return static_cast<std::uint16_t>(chosen | (std::signbit(value) ? 0x8000U : 0U));
}

template <class Format>
void check_rounding(std::uint32_t pattern) {
  const auto value = std::bit_cast<float>(pattern);
  if (!std::isfinite(value)) return;
  ASSERT_EQ(Format::round(value), nearest_even<Format>(value)) << std::hex << pattern;
}

/// Every pattern that a format can tell apart, its neighbours, and the ties between them, and a sample of all
/// others.
template <class Format>
void check_all_roundings() {
  for (std::uint32_t half = 0; half < 0x10000U; ++half) {
    const float value = Format::widen(static_cast<std::uint16_t>(half));
    if (!std::isfinite(value)) continue;
    const float next = Format::widen(static_cast<std::uint16_t>(half + 1));
    const std::uint32_t tie = bits(value + (next - value) / 2);
    for (const std::uint32_t near : {bits(value), tie}) {
      for (int step = -2; step <= 2; ++step) check_rounding<Format>(near + static_cast<std::uint32_t>(step));
    }
  }
  for (std::uint64_t pattern = 0; pattern < 0x100000000U; pattern += 9973) {
    check_rounding<Format>(static_cast<std::uint32_t>(pattern));
  }
}

TEST(HalfConversion, RoundsToNearestEven) {
  check_all_roundings<Float16>();
  check_all_roundings<BFloat16>();
}

TEST(HalfConversion, KnownValues) {
  EXPECT_EQ(Float16::round(1.0F), 0x3C00);
  EXPECT_EQ(Float16::round(-2.0F), 0xC000);
  EXPECT_EQ(Float16::round(65504.0F), 0x7BFF);
  EXPECT_EQ(Float16::round(65519.99F), 0x7BFF);
  EXPECT_EQ(Float16::round(65520.0F), 0x7C00);
  EXPECT_EQ(Float16::round(std::ldexp(1.0F, -24)), 0x0001);
  EXPECT_EQ(Float16::round(std::ldexp(1.0F, -25)), 0x0000) << "a tie goes to even";
  EXPECT_EQ(Float16::round(std::ldexp(1.5F, -25)), 0x0001);
  EXPECT_EQ(Float16::round(-0.0F), 0x8000);
  EXPECT_EQ(Float16::round(std::nanf("")), Float16::kQuietNan);
  EXPECT_EQ(Float16::round(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_EQ(BFloat16::round(1.0F), 0x3F80);
  EXPECT_EQ(BFloat16::round(std::bit_cast<float>(0x3F808000U)), 0x3F80) << "a tie goes to even";
  EXPECT_EQ(BFloat16::round(std::bit_cast<float>(0x3F818000U)), 0x3F82);
  EXPECT_EQ(BFloat16::round(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(BFloat16::round(-std::nanf("1")), BFloat16::kQuietNan);
  EXPECT_EQ(BFloat16::round(std::bit_cast<float>(0x7F800001U)), BFloat16::kQuietNan)
      << "no NaN becomes infinity";
}

TEST(HalfConversion, WidensExactly) {
  for (std::uint32_t half = 0; half < 0x10000U; ++half) {
    const auto pattern = static_cast<std::uint16_t>(half);
    const float bfloat = BFloat16::widen(pattern);
    EXPECT_EQ(bits(bfloat), half << 16U);
    const float value = Float16::widen(pattern);
    const int exponent = static_cast<int>(half >> 10U & 31U);
    const int mantissa = static_cast<int>(half & 1023U);
    EXPECT_EQ(std::signbit(value), half >> 15U == 1);
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), mantissa != 0);
      EXPECT_EQ(std::isinf(value), mantissa == 0);
    } else if (exponent == 0) {
      EXPECT_EQ(std::fabs(value), std::ldexp(static_cast<float>(mantissa), -24));
    } else {
      EXPECT_EQ(std::fabs(value), std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25));
    }
  }
}

template <class Format>
void check_arrays(DType dtype) {
  // Every pattern, at an odd address.
  std::vector<std::byte> halves(2 * 65536 + 1);
  for (std::uint32_t half = 0; half < 0x10000U; ++half) std::memcpy(&halves[1 + 2 * half], &half, 2);
  Floats wide(65536);
  to_float32(dtype, &halves[1], wide.data(), wide.size());
  for (std::uint32_t half = 0; half < 0x10000U; ++half) {
    ASSERT_EQ(bits(wide[half]), bits(Format::widen(static_cast<std::uint16_t>(half)))) << half;
  }
  for (std::size_t count = 0; count < 70; ++count) {
    Floats values = wild(count, static_cast<unsigned>(count), 1e5F);
    if (count > 20) values[20] = std::nanf("");
    if (count > 40) values[40] = -std::numeric_limits<float>::infinity();
    if (count > 50) values[50] = std::numeric_limits<float>::max();
    std::vector<std::byte> out(2 * count + 2, std::byte{0x5A});
    from_float32(dtype, values.data(), &out[1], count);
    for (std::size_t i = 0; i < count; ++i) {
      std::uint16_t half = 0;
      std::memcpy(&half, &out[1 + 2 * i], 2);
      ASSERT_EQ(half, Format::round(values[i])) << values[i];
    }
    EXPECT_EQ(out.back(), std::byte{0x5A});
  }
}

TEST(HalfConversion, ArraysAgreeWithSingleValues) {
  check_arrays<Float16>(DType::float16);
  check_arrays<BFloat16>(DType::bfloat16);
}

TEST(HalfConversion, TellsWhereFiniteBecomesInfinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  const struct {
    DType dtype;
    float largest;  ///< that still rounds to a finite value
  } formats[] = {{DType::float16, std::nextafter(65520.0F, 0.0F)},
                 {DType::bfloat16, std::bit_cast<float>(0x7F7F7FFFU)}};
  for (const auto& [dtype, largest] : formats) {
    for (std::size_t count = 1; count < 40; ++count) {
      for (std::size_t at = 0; at < count; ++at) {
        std::vector<std::byte> out(2 * count);
        const auto fits = [&, type = dtype](float value) {
          Floats values = normal_floats(count, 1);
          values[at] = value;
          return from_float32(type, values.data(), out.data(), count);
        };
        ASSERT_TRUE(fits(largest));
        ASSERT_TRUE(fits(-largest));
        ASSERT_FALSE(fits(std::nextafter(largest, infinity))) << "count " << count << " at " << at;
        ASSERT_FALSE(fits(-std::numeric_limits<float>::max()));
        ASSERT_TRUE(fits(infinity)) << "it was so before";
        ASSERT_TRUE(fits(std::nanf("")));
      }
    }
  }
}

TEST(HalfConversion, Float32IsCopied) {
  const Floats values = wild(33, 1);
  Floats out(33);
  to_float32(DType::float32, values.data(), out.data(), values.size());
  EXPECT_EQ(patterns(out), patterns(values));
  from_float32(DType::float32, values.data(), out.data(), 0);
  from_float32(DType::float32, values.data(), out.data(), values.size());
  EXPECT_EQ(patterns(out), patterns(values));
}

TEST(HalfCodec, SaturatesWhatIsFinite) {
  const float largest = std::numeric_limits<float>::max();
  const Floats values{65504.0F, 65520.0F, -1e6F, largest, -largest, 1.0F, 1e-30F};
  for (const auto& [spec, limit] :
       {std::pair{"fp16", Float16::kLargest}, std::pair{"bf16", BFloat16::kLargest}}) {
    const auto codec = make_codec(spec);
    Floats residual(values.size());
    bool finite = false;
    const Bytes payload =
        encode(*codec, {values.data(), nullptr, residual.data(), values.size(), 1.0F}, &finite);
    const Floats decoded = decode(*codec, payload, values.size());
    EXPECT_TRUE(finite);
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_TRUE(std::fabs(decoded[i]) <= limit);
      EXPECT_EQ(residual[i], values[i] - decoded[i]) << "the residual carries what did not fit";
    }
    EXPECT_EQ(decoded[3], limit);
    EXPECT_EQ(decoded[4], -limit);
  }
}

TEST(HalfCodec, FlagsAndCarriesWhatIsNot) {
  const float infinity = std::numeric_limits<float>::infinity();
  Floats values = normal_floats(40, 1);
  values[3] = std::nanf("");
  values[33] = -infinity;
  for (const char* spec : {"fp16", "bf16"}) {
    const auto codec = make_codec(spec);
    const Floats before = normal_floats(40, 2);
    Floats residual = before;
    bool finite = true;
    const Bytes payload =
        encode(*codec, {values.data(), residual.data(), residual.data(), 40, 1.0F}, &finite);
    EXPECT_FALSE(finite);
    const Floats decoded = decode(*codec, payload, 40);
    EXPECT_TRUE(std::isnan(decoded[3]));
    EXPECT_EQ(decoded[33], -infinity);
    EXPECT_EQ(residual[3], before[3]);
    EXPECT_EQ(residual[33], before[33]);
    EXPECT_EQ(residual[4], values[4] + before[4] - decoded[4]);
  }
}

}  // namespace
}  // namespace gradwire::compress
