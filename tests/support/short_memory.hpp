#pragma once

#include <cstddef>
#include <functional>
#include <utility>

namespace gradwire {

/// Which allocations of this thread fail while it lives, in a program that has short_memory.cpp.
class ShortMemory {
 public:
  using Refuses = std::function<bool(std::size_t bytes)>;

  explicit ShortMemory(Refuses refuses) : refuses_(std::move(refuses)) { present = &refuses_; }
  ~ShortMemory() { present = nullptr; }
  ShortMemory(const ShortMemory&) = delete;
  ShortMemory& operator=(const ShortMemory&) = delete;

  static thread_local const Refuses* present;

 private:
  Refuses refuses_;
};

}  // namespace gradwire
