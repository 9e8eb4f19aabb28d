#pragma once

#include <cstddef>
#include <cstdint>

namespace gradwire::compress {

/// What a block's scales are.
enum class OnebitScale : std::uint8_t {
  two_level,  ///< the means of the elements on each side of zero
  l1,         ///< the mean magnitude
  l2,         ///< the root of the mean square
};

struct OnebitOptions {
  std::size_t block = 256;  ///< elements; a power of two, at least 16
  OnebitScale scale = OnebitScale::two_level;
};

// The payload, block by block: the scales (bfloat16, little-endian: r0 then r1 of two-level, or the one
// magnitude), then one bit per element, the first element in the lowest bit of the first byte. The last block
// may be shorter; the unused bits of its last byte are zero.

constexpr std::size_t onebit_scale_bytes(OnebitScale scale) noexcept {
  return scale == OnebitScale::two_level ? 4 : 2;
}

constexpr std::size_t onebit_block_bytes(const OnebitOptions& options) noexcept {
  return onebit_scale_bytes(options.scale) + options.block / 8;
}

constexpr std::size_t onebit_payload_bytes(const OnebitOptions& options, std::size_t count) noexcept {
  const std::size_t full = count / options.block;
  const std::size_t rest = count % options.block;
  return full * onebit_block_bytes(options) +
         (rest == 0 ? 0 : onebit_scale_bytes(options.scale) + (rest + 7) / 8);
}

}  // namespace gradwire::compress
