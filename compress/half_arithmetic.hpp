#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "compress/float_bits.hpp"
#include "compress/on_device.hpp"

namespace gradwire::compress {

/// One element as it travels.
struct HalfElement {
  std::uint16_t half = 0;
  float lost = 0;  ///< the new residual
  bool finite = true;
};

/// v is the element with its residual in it, `inverse` 1 / scale, rounded once.
template <class Format>
GRADWIRE_ON_DEVICE inline HalfElement half_element(float v, float residual, float scale,
                                                   float inverse) noexcept {
  const bool finite = std::isfinite(v);
  const std::uint16_t half = Format::round(finite ? clamp_magnitude(v * scale, Format::kLargest) : v);
  const float lost = v - clamp_to_finite(Format::widen(half) * inverse);
  return {half, finite ? lost : residual, finite};
}

/// Whether rounding keeps a finite value finite. One that was not finite before is nobody's loss.
template <class Format>
GRADWIRE_ON_DEVICE inline bool fits_half(float value) noexcept {
  const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU;
  return magnitude < Format::kOverflow || magnitude >= 0x7F800000U;
}

}  // namespace gradwire::compress
