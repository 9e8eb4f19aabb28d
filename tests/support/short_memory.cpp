#include "tests/support/short_memory.hpp"

#include <cstdlib>
#include <new>

namespace gradwire {

thread_local const ShortMemory::Refuses* ShortMemory::present_ = nullptr;

namespace {

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (ShortMemory::is_refused(bytes)) throw std::bad_alloc();
  const std::size_t whole = (bytes / alignment + 1) * alignment;
  void* memory = std::aligned_alloc(alignment, whole);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace
}  // namespace gradwire

void* operator new(std::size_t bytes) { return gradwire::allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return gradwire::allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
