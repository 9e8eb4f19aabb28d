#pragma once

#include <cstddef>

#include "compress/addend.hpp"
#include "compress/codec.hpp"
#include "compress/onebit_format.hpp"

namespace gradwire::compress {

/// The loops of the 1-bit codec, over any number of blocks with a shorter one at the end.
struct OnebitKernels {
  /// Returns false when a block was not finite.
  bool (*encode)(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload);
  void (*decode_assign)(const OnebitOptions& options, const std::byte* payload, float* out,
                        std::size_t count);
  void (*decode_add)(const OnebitOptions& options, const std::byte* payload, float* sum, std::size_t count,
                     float factor);
};

/// The definition of the format and its arithmetic.
const OnebitKernels& onebit_scalar_kernels() noexcept;
/// The same bits by the best instructions of this processor.
const OnebitKernels& onebit_simd_kernels() noexcept;

}  // namespace gradwire::compress
