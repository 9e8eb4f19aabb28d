// Loads and stores of vectors at any address. Compiled once per Highway target, so no ordinary include guard.

#if defined(GRADWIRE_COMPRESS_SIMD_BYTES_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef GRADWIRE_COMPRESS_SIMD_BYTES_INL_HPP
#undef GRADWIRE_COMPRESS_SIMD_BYTES_INL_HPP
#else
#define GRADWIRE_COMPRESS_SIMD_BYTES_INL_HPP
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace gradwire::compress::HWY_NAMESPACE {

template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load_bytes(D d, const std::byte* from) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Repartition<std::uint8_t, D> bytes;
  return hn::BitCast(d, hn::LoadU(bytes, reinterpret_cast<const std::uint8_t*>(from)));
}

template <class D>
HWY_INLINE void store_bytes(D /*d*/, hwy::HWY_NAMESPACE::Vec<D> v, std::byte* to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Repartition<std::uint8_t, D> bytes;
  hn::StoreU(hn::BitCast(bytes, v), bytes, reinterpret_cast<std::uint8_t*>(to));
}

}  // namespace gradwire::compress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
