#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace gradwire::trainer {

/// Memory on cache-line boundaries, for vectors that GEMM and codecs stream through.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::size_t kLine = 64;

  CacheLineAllocator() = default;
  template <typename U>
  CacheLineAllocator(const CacheLineAllocator<U>&) noexcept {}  // NOLINT(google-explicit-constructor)

  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{kLine}));
  }
  void deallocate(T* memory, std::size_t) noexcept { ::operator delete (memory, std::align_val_t{kLine}); }
  bool operator==(const CacheLineAllocator&) const = default;
};

using FloatArena = std::vector<float, CacheLineAllocator<float>>;

/// `count` rounded up to whole cache lines of floats.
constexpr std::size_t padded(std::size_t count) noexcept { return (count + 15U) / 16U * 16U; }

}  // namespace gradwire::trainer
