#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace gradwire::compress {

inline constexpr float kLargestFloat = std::numeric_limits<float>::max();

/// Finite values pass, the others become the largest finite value of their sign. Not for NaN.
inline float clamp_to_finite(float value) noexcept {
  return std::clamp(value, -kLargestFloat, kLargestFloat);
}

/// bfloat16: the upper half of a float32.
struct BFloat16 {
  static constexpr std::uint16_t kQuietNan = 0x7FC0;
  static constexpr std::uint16_t kLargestBits = 0x7F7F;
  static constexpr std::uint32_t kOverflow = 0x7F7F8000U;  ///< halfway to the next power of two
  static constexpr float kLargest = std::bit_cast<float>(std::uint32_t{0x7F7F0000});

  /// Nearest, ties to even; beyond the range infinity; every NaN becomes kQuietNan.
  static constexpr std::uint16_t round(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return kQuietNan;
    return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);
  }
  /// Exact for every pattern.
  static constexpr float widen(std::uint16_t half) noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16U);
  }
};

/// IEEE binary16.
struct Float16 {
  static constexpr std::uint16_t kQuietNan = 0x7E00;
  static constexpr float kLargest = 65504.0F;

  /// Nearest, ties to even, denormals included; beyond the range infinity; every NaN becomes kQuietNan.
  static constexpr std::uint16_t round(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16U) & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) return kQuietNan;
    std::uint32_t half = 0;
    if (magnitude >= kOverflow) {
      half = 0x7C00U;
    } else if (magnitude < kSmallestNormal) {
      // Adding 0.5 leaves a spacing of 2^-24, that of the denormals: the addition itself rounds to nearest
      // even.
      half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - kHalf;
    } else {
      half = (magnitude - kRebias + 0xFFFU + ((magnitude >> 13U) & 1U)) >> 13U;
    }
    return static_cast<std::uint16_t>(sign | half);
  }
  /// Exact for every pattern; a NaN keeps its payload.
  static constexpr float widen(std::uint16_t half) noexcept {
    const std::uint32_t sign = (half & 0x8000U) << 16U;
    const std::uint32_t shifted = (half & 0x7FFFU) << 13U;
    std::uint32_t magnitude = shifted + kRebias;
    if (shifted >= kShiftedInfinity) {
      magnitude += kRebias;
    } else if (shifted < kShiftedNormal) {
      // As if normal with the smallest exponent; the subtraction takes the implied one away again, exactly.
      magnitude = std::bit_cast<std::uint32_t>(std::bit_cast<float>(shifted + kSmallestNormal) -
                                               std::bit_cast<float>(kSmallestNormal));
    }
    return std::bit_cast<float>(sign | magnitude);
  }

  static constexpr std::uint32_t kRebias = (127U - 15U) << 23U;
  static constexpr std::uint32_t kSmallestNormal = 0x38800000U;  ///< 2^-14
  static constexpr std::uint32_t kOverflow = 0x477FF000U;        ///< 65520, halfway to the next power of two
  static constexpr std::uint32_t kHalf = 0x3F000000U;            ///< 0.5
  static constexpr std::uint32_t kShiftedInfinity = 0x7C00U << 13U;
  static constexpr std::uint32_t kShiftedNormal = 0x0400U << 13U;
};

}  // namespace gradwire::compress
