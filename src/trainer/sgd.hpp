#pragma once

#include <cstddef>
#include <span>

#include "trainer/float_arena.hpp"

namespace gradwire::trainer {

struct SgdOptions {
  float learning_rate = 0.1F;
  float momentum = 0.5F;  ///< more makes the lag of residuals felt: docs/training.md
  float weight_decay = 0;
};

[[nodiscard]] bool is_finite(std::span<const float> values) noexcept;

/// Stochastic gradient descent: v = momentum v + g + weight_decay w, then w -= learning_rate v. In the modes
/// that average gradients g is the mean over ranks, so that momentum comes after averaging.
class Sgd {
 public:
  Sgd(std::size_t count, const SgdOptions& options) : options_(options), velocity_(count) {}

  /// Whether all gradients were finite; the weights are useless if not.
  [[nodiscard]] bool step(std::span<float> weights, std::span<const float> gradients) noexcept;

  /// The momentum buffer, which a checkpoint keeps.
  [[nodiscard]] std::span<float> velocity() noexcept { return velocity_; }
  [[nodiscard]] std::span<const float> velocity() const noexcept { return velocity_; }

 private:
  SgdOptions options_;
  FloatArena velocity_;
};

}  // namespace gradwire::trainer
