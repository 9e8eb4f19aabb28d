#pragma once

#include <cstdint>

namespace gradwire::base {

/// While it lives, this thread's floating-point arithmetic is the one that payloads are defined in: round to
/// nearest even, subnormal numbers kept, no traps. Callers may have set something else (-ffast-math start-up
/// code flushes subnormals to zero); the destructor gives it back to them. A few nanoseconds when there is
/// nothing to change.
class FloatMode {
 public:
  FloatMode() noexcept;
  ~FloatMode();
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
  std::uint64_t saved_;
};

}  // namespace gradwire::base
