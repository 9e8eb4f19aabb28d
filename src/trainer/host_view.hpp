#pragma once

#include <cstddef>
#include <span>

#include "trainer/compute.hpp"
#include "trainer/float_arena.hpp"

namespace gradwire::trainer {

/// Floats of a Compute as the host sees them: the same memory where they are the host's, else a copy that is
/// brought up to date in either direction. Both outlive it.
class HostView {
 public:
  HostView(Compute& compute, std::span<float> there)
      : compute_(compute), there_(there), copy_(compute.device().is_host() ? 0 : there.size()) {}

  [[nodiscard]] std::span<float> values() noexcept {
    return copy_.empty() ? there_ : std::span<float>(copy_);
  }

  /// To the host, of all, or of `count` floats from `first` on.
  void fetch() { fetch(0, there_.size()); }
  void fetch(std::size_t first, std::size_t count) {
    if (!copy_.empty())
      compute_.download(there_.subspan(first, count), std::span(copy_).subspan(first, count));
  }
  /// From the host, of all, or of the first `count`.
  void store() { store(there_.size()); }
  void store(std::size_t count) {
    if (!copy_.empty()) compute_.upload(std::span(copy_).first(count), there_.first(count));
  }

 private:
  Compute& compute_;
  std::span<float> there_;
  FloatArena copy_;
};

}  // namespace gradwire::trainer
