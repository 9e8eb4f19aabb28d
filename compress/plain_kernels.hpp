#pragma once

#include <cstddef>

#include "compress/addend.hpp"
#include "compress/codec.hpp"

namespace gradwire::compress {

/// The loops of `none`.
struct PlainKernels {
  /// `payload` may be in.value's own memory.
  void (*encode)(const Encode& in, const Addend& addend, std::byte* payload);
  /// As encode() without an addend, but looks: an element that is not finite keeps its residual and makes the
  /// answer false.
  bool (*encode_and_look)(const Encode& in, std::byte* payload);
  void (*decode_add)(const std::byte* payload, float* sum, std::size_t count, float factor);
};

/// The definition.
const PlainKernels& plain_scalar_kernels() noexcept;
/// The same bits by the best instructions of this processor.
const PlainKernels& plain_simd_kernels() noexcept;

}  // namespace gradwire::compress
