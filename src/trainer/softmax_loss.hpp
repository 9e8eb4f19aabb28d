#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace gradwire::trainer {

/// Replaces each row of `classes` logits by `scale` times the gradient of its cross entropy, and returns the
/// sum of the rows' losses (unscaled). NaN and infinite logits give a loss that is not finite.
double softmax_cross_entropy(std::span<float> logits, std::size_t classes,
                             std::span<const std::uint8_t> labels, float scale);

struct Score {
  double loss = 0;  ///< summed over rows
  std::size_t correct = 0;
};

/// Loss, and how many rows have their largest logit at the label.
Score score(std::span<const float> logits, std::size_t classes, std::span<const std::uint8_t> labels);

}  // namespace gradwire::trainer
