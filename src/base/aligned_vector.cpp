#include "base/aligned_vector.hpp"

#include <sys/mman.h>

#include <new>

namespace gradwire::base {
namespace {

constexpr std::align_val_t kCacheLine{64};
constexpr std::size_t kHugePage = std::size_t{2} << 20U;
/// Below that the pages at both ends that are not huge, and the memory lost to alignment, are too large a
/// part.
constexpr std::size_t kLarge = 4 * kHugePage;

std::align_val_t alignment_of(std::size_t bytes) noexcept {
  return bytes >= kLarge ? std::align_val_t{kHugePage} : kCacheLine;
}

}  // namespace

void* allocate_aligned(std::size_t bytes) {
  void* memory = ::operator new(bytes, alignment_of(bytes));
  // Advice: whether the kernel takes it or not, the memory is good.
  if (bytes >= kLarge) ::madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

void free_aligned(void* memory, std::size_t bytes) noexcept {
  ::operator delete(memory, alignment_of(bytes));
}

}  // namespace gradwire::base
