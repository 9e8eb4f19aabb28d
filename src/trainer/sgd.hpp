#pragma once

#include <cstddef>
#include <span>

#include "trainer/compute.hpp"

namespace gradwire::trainer {

/// Stochastic gradient descent with momentum: see Compute::sgd_step(). In the modes that average gradients
/// these are the mean over ranks, so that momentum comes after averaging.
class Sgd {
 public:
  Sgd(Compute& compute, std::size_t count, const SgdOptions& options)
      : compute_(compute), options_(options), velocity_(compute, count) {}

  /// Whether all gradients were finite; the weights are useless if not.
  [[nodiscard]] bool step(std::span<float> weights, std::span<const float> gradients) {
    return compute_.sgd_step(weights, gradients, velocity_.span(), options_);
  }

  /// The momentum buffer, which a checkpoint keeps.
  [[nodiscard]] std::span<float> velocity() noexcept { return velocity_.span(); }
  [[nodiscard]] std::span<const float> velocity() const noexcept { return velocity_.span(); }

 private:
  Compute& compute_;
  SgdOptions options_;
  Floats velocity_;
};

}  // namespace gradwire::trainer
