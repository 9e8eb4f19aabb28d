#pragma once

#include <cstddef>
#include <cstdint>

#include "compress/addend.hpp"
#include "compress/codec.hpp"

namespace gradwire::compress {

enum class HalfFormat : std::uint8_t { fp16, bf16 };

/// The loops of the 16-bit codecs and of the tensor conversions. Payloads and 16-bit arrays may sit anywhere.
struct HalfKernels {
  /// Saturates finite values; returns false when a value was not finite.
  bool (*encode)(const Encode& in, const Addend& addend, std::byte* payload);
  void (*decode_assign)(const std::byte* payload, float* out, std::size_t count);
  void (*decode_add)(const std::byte* payload, float* sum, std::size_t count, float factor);
  /// The IEEE conversion: beyond the range infinity. Returns false when a finite value became that.
  bool (*narrow)(const float* in, std::byte* out, std::size_t count);
};

/// The definition.
const HalfKernels& half_scalar_kernels(HalfFormat format) noexcept;
/// The same bits by the best instructions of this processor.
const HalfKernels& half_simd_kernels(HalfFormat format) noexcept;

}  // namespace gradwire::compress
