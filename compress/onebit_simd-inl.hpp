// What the encoding and the decoding loops share. Compiled once per Highway target, so no ordinary include
// guard.

#if defined(GRADWIRE_COMPRESS_ONEBIT_SIMD_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef GRADWIRE_COMPRESS_ONEBIT_SIMD_INL_HPP
#undef GRADWIRE_COMPRESS_ONEBIT_SIMD_INL_HPP
#else
#define GRADWIRE_COMPRESS_ONEBIT_SIMD_INL_HPP
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "compress/onebit_format.hpp"

#if HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace gradwire::compress::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A block is at least 16 elements, and a multiple of that.
#if HWY_HAVE_SCALABLE
using Floats = hn::FixedTag<float, 4>;
#else
using Floats = hn::CappedTag<float, 16>;
#endif
using Vec = hn::Vec<Floats>;
using Mask = hn::Mask<Floats>;
inline constexpr std::size_t kLanes = hn::MaxLanes(Floats());

/// The block size that has loops of its own.
inline constexpr std::size_t kUsualBlock = OnebitOptions().block;

/// The mask of the lanes from element i on, where i is a multiple of the lanes.
HWY_INLINE Mask mask_at(const std::byte* bits, std::size_t i) {
  std::uint8_t bytes[8] = {};
  if constexpr (kLanes > 8) {
    std::memcpy(bytes, bits + i / 8, kLanes / 8);
  } else {
    bytes[0] = static_cast<std::uint8_t>(std::to_integer<unsigned>(bits[i / 8]) >> (i % 8));
  }
  return hn::LoadMaskBits(Floats(), bytes);
}

/// How far ahead of its use memory is asked for, in elements: a few blocks, a page.
inline constexpr std::size_t kAhead = 1024;
inline constexpr std::size_t kLine = 64 / sizeof(float);

// Both ask for the cache line that begins with element i of `from`, kAhead later, and do nothing for the
// other elements of a line. The address may lie outside the array.

HWY_INLINE void prefetch_to_read(const float* from, std::size_t i) {
  if (i % kLine == 0) hwy::Prefetch(from + i + kAhead);
}

HWY_INLINE void prefetch_to_write(const float* from, std::size_t i) {
  if (i % kLine != 0) return;
#if HWY_ARCH_X86_64
  // Compilers make this a plain prefetch unless told of a feature that every such processor has, or ignores.
  asm volatile("prefetchw %0" : : "m"(from[i + kAhead]));  // NOLINT(hicpp-no-assembler)
#else
  __builtin_prefetch(from + i + kAhead, 1);
#endif
}

}  // namespace gradwire::compress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
#endif
