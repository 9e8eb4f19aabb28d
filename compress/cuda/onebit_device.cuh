#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "compress/addend.hpp"
#include "compress/codec.hpp"
#include "compress/cuda/launch.cuh"
#include "compress/onebit_arithmetic.hpp"

namespace gradwire::compress {

/// What a kernel has to know to find the payload of an element's block.
struct OnebitFrame {
  unsigned block;      ///< elements, a power of two
  unsigned shift;      ///< its logarithm
  unsigned bytes;      ///< of a full block in the payload
  unsigned bits_from;  ///< where a block's bits begin in it

  explicit OnebitFrame(const OnebitOptions& options) noexcept
      : block(static_cast<unsigned>(options.block)),
        shift(static_cast<unsigned>(std::countr_zero(options.block))),
        bytes(static_cast<unsigned>(onebit_block_bytes(options))),
        bits_from(static_cast<unsigned>(onebit_scale_bytes(options.scale))) {}

  /// Whether the scales of all blocks can be read in one access each.
  [[nodiscard]] bool whole_scales(const std::byte* payload) const noexcept {
    return (reinterpret_cast<std::uintptr_t>(payload) | bytes) % bits_from == 0;
  }
  /// Where the block of element i begins in the payload.
  [[nodiscard]] __device__ __forceinline__ std::size_t block_of(std::size_t i) const {
    return (i >> shift) * bytes;
  }
  /// The byte that holds the bit of element i.
  [[nodiscard]] __device__ __forceinline__ std::size_t byte_of(std::size_t i) const {
    return block_of(i) + bits_from + (i & (block - 1)) / 8;
  }
};

/// What the payload holds of a single element, or of the quad that begins at a multiple of 4. It is made
/// sense of only after all other loads are under way.
struct OnebitPart {
  OnebitStored stored;
  unsigned bits;  ///< the first element's is the lowest
};

/// `kWhole`: scales lie where one access can read them.
template <OnebitScale kScale, bool kWhole>
__device__ __forceinline__ OnebitStored load_stored(const std::byte* from) {
  if constexpr (!kWhole) {
    return onebit_load_stored(kScale, from);
  } else if constexpr (kScale == OnebitScale::two_level) {
    const unsigned both = *reinterpret_cast<const std::uint32_t*>(from);
    return {static_cast<std::uint16_t>(both), static_cast<std::uint16_t>(both >> 16U)};
  } else {
    return {*reinterpret_cast<const std::uint16_t*>(from), 0};
  }
}

template <OnebitScale kScale, bool kWhole>
__device__ __forceinline__ OnebitPart load_onebit(const OnebitFrame& frame, const std::byte* payload,
                                                  std::size_t i) {
  return {load_stored<kScale, kWhole>(payload + frame.block_of(i)),
          std::to_integer<unsigned>(payload[frame.byte_of(i)]) >> (i & 7U)};
}

/// Bit c stands for the upper level or the lower one.
__device__ __forceinline__ float level_of(const OnebitDecoded& levels, unsigned bits, unsigned c) {
  return (bits >> c & 1U) != 0 ? levels.upper : levels.lower;
}

/// An encoding, as its kernels take it.
struct OnebitJob {
  OnebitFrame frame;
  Encode in;
  Addend addend;
  std::byte* payload;
  std::uint32_t* non_finite;
  float inverse;     ///< 1 / in.scale
  std::size_t tile;  ///< elements that a warp takes
};

}  // namespace gradwire::compress
