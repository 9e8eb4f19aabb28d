#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace gradwire::base {

/// The widest vector of any instruction set here, and a cache line.
inline constexpr std::size_t kAlignment = 64;

template <typename T>
struct AlignedAllocator {
  using value_type = T;

  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>& /*other*/) noexcept {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{kAlignment}));
  }
  void deallocate(T* memory, std::size_t /*count*/) noexcept {
    ::operator delete (memory, std::align_val_t{kAlignment});
  }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) noexcept { return true; }
};

/// A vector whose elements begin on a cache line, so that codecs can write it past the cache.
template <typename T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace gradwire::base
