#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "compress/on_device.hpp"

namespace gradwire::compress {

inline constexpr float kLargestFloat = std::numeric_limits<float>::max();

/// Values beyond `largest` become that, with their sign. Not for NaN. (std::clamp takes references, which
/// kernels cannot have to constants.)
constexpr float clamp_magnitude(float value, float largest) noexcept {
  if (value < -largest) return -largest;
  return largest < value ? largest : value;
}

/// Finite values pass, the others become the largest finite value of their sign. Not for NaN.
constexpr float clamp_to_finite(float value) noexcept { return clamp_magnitude(value, kLargestFloat); }

/// x * factor. A NaN stays what it is, but for being quiet, where processors have a single one too.
constexpr float scale_level(float x, float factor) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return (bits & 0x7FFFFFFFU) > 0x7F800000U ? std::bit_cast<float>(bits | 0x00400000U) : x * factor;
}

/// -x, by its sign bit alone.
constexpr float negate_level(float x) noexcept {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) ^ 0x80000000U);
}

// 16-bit numbers anywhere in memory.

GRADWIRE_ON_DEVICE inline std::uint16_t load_u16(const std::byte* from) noexcept {
  std::uint16_t value = 0;
  std::memcpy(&value, from, sizeof value);
  return value;
}

GRADWIRE_ON_DEVICE inline void store_u16(std::byte* to, std::uint16_t value) noexcept {
  std::memcpy(to, &value, sizeof value);
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
    // Selections instead of branches: lanes of a warp would take both sides.
    const std::uint32_t normal = (magnitude - kRebias + 0xFFFU + ((magnitude >> 13U) & 1U)) >> 13U;
    // Adding 0.5 leaves a spacing of 2^-24, that of the denormals: the addition itself rounds to nearest
    // even.
    const std::uint32_t denormal =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - kHalf;
    const std::uint32_t in_range = magnitude < kSmallestNormal ? denormal : normal;
    const std::uint32_t half = sign | (magnitude >= kOverflow ? 0x7C00U : in_range);
    return static_cast<std::uint16_t>(magnitude > 0x7F800000U ? kQuietNan : half);
  }
  /// Exact for every pattern; a NaN keeps its payload.
  static constexpr float widen(std::uint16_t half) noexcept {
    const std::uint32_t sign = (half & 0x8000U) << 16U;
    const std::uint32_t shifted = (half & 0x7FFFU) << 13U;
    // As if normal with the smallest exponent; the subtraction takes the implied one away again, exactly.
    const auto denormal =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(shifted + kSmallestNormal) - kSmallestNormalValue);
    const std::uint32_t normal = shifted + (shifted >= kShiftedInfinity ? 2 * kRebias : kRebias);
    const std::uint32_t magnitude = shifted < kShiftedNormal ? denormal : normal;
    return std::bit_cast<float>(sign | magnitude);
  }

  static constexpr std::uint32_t kRebias = (127U - 15U) << 23U;
  static constexpr std::uint32_t kSmallestNormal = 0x38800000U;  ///< 2^-14
  static constexpr float kSmallestNormalValue = std::bit_cast<float>(kSmallestNormal);
  static constexpr std::uint32_t kOverflow = 0x477FF000U;  ///< 65520, halfway to the next power of two
  static constexpr std::uint32_t kHalf = 0x3F000000U;      ///< 0.5
  static constexpr std::uint32_t kShiftedInfinity = 0x7C00U << 13U;
  static constexpr std::uint32_t kShiftedNormal = 0x0400U << 13U;
};

}  // namespace gradwire::compress
