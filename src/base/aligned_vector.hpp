#pragma once

#include <cstddef>
#include <vector>

namespace gradwire::base {

/// Memory that begins on a cache line, which is as wide as the widest vector of any instruction set here.
/// Large blocks ask for huge pages: codecs that stream through them otherwise wait for address translation.
/// Throws std::bad_alloc.
[[nodiscard]] void* allocate_aligned(std::size_t bytes);
/// `bytes` as it was asked for.
void free_aligned(void* memory, std::size_t bytes) noexcept;

template <typename T>
struct AlignedAllocator {
  using value_type = T;

  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>& /*other*/) noexcept {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] T* allocate(std::size_t count) {
    return static_cast<T*>(allocate_aligned(count * sizeof(T)));
  }
  void deallocate(T* memory, std::size_t count) noexcept { free_aligned(memory, count * sizeof(T)); }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) noexcept { return true; }
};

/// Codecs can write its elements past the cache.
template <typename T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace gradwire::base
