#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "compress/float_bits.hpp"
#include "compress/on_device.hpp"
#include "compress/onebit_format.hpp"

namespace gradwire::compress {

/// Accumulators of a block's sums: element i goes to accumulator i mod this (or mod the block, when that is
/// smaller). One warp with 16-byte loads covers them, and so do eight registers of 16 lanes.
inline constexpr std::size_t kOnebitAccumulators = 128;

/// What a block's elements add up to. Magnitude modes use `upper` alone, for the sum of |v| or of v * v.
struct OnebitSums {
  float upper = 0;  ///< of the elements >= 0
  float lower = 0;  ///< of the others, where NaN is
  std::size_t upper_count = 0;
  std::size_t lower_count = 0;
};

/// A block's scales as stored, and what they stand for in the encoder's own units.
struct OnebitLevels {
  std::uint16_t stored_lower = 0;  ///< unused by magnitude modes
  std::uint16_t stored_upper = 0;
  float lower = 0;
  float upper = 0;
  bool finite = true;
};

/// A scale for the wire: never infinite, so that a finite block stays finite.
constexpr std::uint16_t onebit_stored(float mean, float scale) noexcept {
  return BFloat16::round(clamp_magnitude(mean * scale, BFloat16::kLargest));
}

constexpr float onebit_mean(float sum, std::size_t count) noexcept {
  return count == 0 ? 0.0F : sum / static_cast<float>(count);
}

/// `inverse` is 1 / scale, rounded once.
GRADWIRE_ON_DEVICE inline OnebitLevels onebit_levels(OnebitScale mode, const OnebitSums& sums, float scale,
                                                     float inverse) noexcept {
  OnebitLevels levels;
  if (!std::isfinite(sums.upper) || !std::isfinite(sums.lower)) {
    levels.stored_lower = levels.stored_upper = BFloat16::kQuietNan;
    levels.finite = false;
    return levels;
  }
  if (mode == OnebitScale::two_level) {
    levels.stored_upper = onebit_stored(onebit_mean(sums.upper, sums.upper_count), scale);
    levels.stored_lower = onebit_stored(onebit_mean(sums.lower, sums.lower_count), scale);
    levels.lower = clamp_to_finite(BFloat16::widen(levels.stored_lower) * inverse);
  } else {
    const float mean = onebit_mean(sums.upper, sums.upper_count + sums.lower_count);
    levels.stored_upper = onebit_stored(mode == OnebitScale::l2 ? std::sqrt(mean) : mean, scale);
  }
  levels.upper = clamp_to_finite(BFloat16::widen(levels.stored_upper) * inverse);
  if (mode != OnebitScale::two_level) levels.lower = -levels.upper;
  return levels;
}

inline void onebit_store_levels(OnebitScale mode, const OnebitLevels& levels, std::byte* payload) noexcept {
  if (mode == OnebitScale::two_level) {
    store_u16(payload, levels.stored_lower);
    store_u16(payload + 2, levels.stored_upper);
  } else {
    store_u16(payload, levels.stored_upper);
  }
}

/// A block's scales as they lie in the payload.
struct OnebitStored {
  std::uint16_t first = 0;
  std::uint16_t second = 0;  ///< of two-level
};

GRADWIRE_ON_DEVICE inline OnebitStored onebit_load_stored(OnebitScale mode,
                                                          const std::byte* payload) noexcept {
  OnebitStored stored;
  stored.first = load_u16(payload);
  if (mode == OnebitScale::two_level) stored.second = load_u16(payload + 2);
  return stored;
}

/// What the two values of a bit decode to, times factor.
struct OnebitDecoded {
  float lower = 0;
  float upper = 0;
};

constexpr OnebitDecoded onebit_decoded(OnebitScale mode, const OnebitStored& stored, float factor) noexcept {
  const float first = scale_level(BFloat16::widen(stored.first), factor);
  if (mode == OnebitScale::two_level) return {first, scale_level(BFloat16::widen(stored.second), factor)};
  return {negate_level(first), first};
}

inline OnebitDecoded onebit_load_levels(OnebitScale mode, const std::byte* payload, float factor) noexcept {
  return onebit_decoded(mode, onebit_load_stored(mode, payload), factor);
}

}  // namespace gradwire::compress
