#pragma once

#include <cstddef>
#include <functional>
#include <new>
#include <utility>

namespace gradwire {

/// Which allocations of this thread fail while it lives, in a program that has short_memory.cpp.
class ShortMemory {
 public:
  using Refuses = std::function<bool(std::size_t bytes)>;

  explicit ShortMemory(Refuses refuses) : refuses_(std::move(refuses)) { present_ = &refuses_; }
  ~ShortMemory() { present_ = nullptr; }
  ShortMemory(const ShortMemory&) = delete;
  ShortMemory& operator=(const ShortMemory&) = delete;

  /// Asked by every allocation.
  [[nodiscard]] static bool is_refused(std::size_t bytes) {
    return present_ != nullptr && (*present_)(bytes);
  }

 private:
  static thread_local const Refuses* present_;
  Refuses refuses_;
};

/// False when it got no memory: that of the allocation after `spared` others.
template <typename F>
bool with_short_memory(std::size_t spared, F&& call) {
  try {
    const ShortMemory memory([&](std::size_t) { return spared-- == 0; });
    call();
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

}  // namespace gradwire
