#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "trainer/compute.hpp"

namespace gradwire::trainer {

/// Floats of a Compute as the host sees them: the same memory where they are the host's, else a copy that is
/// brought up to date in either direction. Both outlive it. fetch() and store() may still be under way when
/// they return; values() waits for them, unless somebody has waited for the Compute since.
class HostView {
 public:
  HostView(Compute& compute, std::span<float> there)
      : compute_(compute),
        there_(there),
        copy_(compute.device().is_host() ? nullptr : compute.allocate_on_host(there.size()),
              Release{&compute, there.size()}) {
    if (copy_ != nullptr) std::fill_n(copy_.get(), there.size(), 0.0F);
  }

  [[nodiscard]] std::span<float> values() {
    if (copy_ == nullptr) return there_;
    if (begun_ == compute_.waits()) compute_.wait();
    return copy();
  }

  /// To the host, of all, or of `count` floats from `first` on.
  void fetch() { fetch(0, there_.size()); }
  void fetch(std::size_t first, std::size_t count) {
    if (copy_ == nullptr) return;
    compute_.begin_download(there_.subspan(first, count), copy().subspan(first, count));
    begun_ = compute_.waits();
  }
  /// From the host, of all, or of the first `count`.
  void store() { store(there_.size()); }
  void store(std::size_t count) {
    if (copy_ == nullptr) return;
    compute_.begin_upload(copy().first(count), there_.first(count));
    begun_ = compute_.waits();
  }

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  struct Release {
    Compute* compute;
    std::size_t count;
    void operator()(float* values) const noexcept { compute->release_on_host(values, count); }
  };
  [[nodiscard]] std::span<float> copy() const noexcept { return {copy_.get(), there_.size()}; }

  Compute& compute_;
  std::span<float> there_;
  std::unique_ptr<float[], Release> copy_;  ///< none on the host
  std::uint64_t begun_ = kNever;            ///< compute_.waits() when the last copy was begun
};

}  // namespace gradwire::trainer
