#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <vector>

namespace gradwire::base {

/// Memory that begins on a cache line, which is as wide as the widest vector of any instruction set here.
/// Large blocks ask for huge pages: codecs that stream through them otherwise wait for address translation.
template <typename T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr std::size_t kCacheLine = 64;
  static constexpr std::size_t kHugePage = std::size_t{2} << 20U;
  /// Below that the pages at both ends that are not huge, and the memory lost to alignment, are too large a
  /// part.
  static constexpr std::size_t kLarge = 4 * kHugePage;

  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>& /*other*/) noexcept {}  // NOLINT(google-explicit-constructor)

  /// Throws std::bad_alloc.
  [[nodiscard]] T* allocate(std::size_t count) {
    const std::size_t bytes = count * sizeof(T);
    void* memory = ::operator new(bytes, alignment_of(bytes));
    // Advice: whether the kernel takes it or not, the memory is good.
    if (bytes >= kLarge) ::madvise(memory, bytes, MADV_HUGEPAGE);
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    ::operator delete(memory, alignment_of(count * sizeof(T)));
  }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) noexcept { return true; }

 private:
  static std::align_val_t alignment_of(std::size_t bytes) noexcept {
    return std::align_val_t{bytes >= kLarge ? kHugePage : kCacheLine};
  }
};

/// Codecs can write its elements past the cache.
template <typename T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace gradwire::base
