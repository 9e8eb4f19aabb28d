#include "trainer/sgd.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace gradwire::trainer {

bool Sgd::step(std::span<float> weights, std::span<const float> gradients) noexcept {
  const float rate = options_.learning_rate;
  const float momentum = options_.momentum;
  const float decay = options_.weight_decay;
  float* const w = weights.data();
  const float* const g = gradients.data();
  float* const v = velocity_.data();
  // The largest magnitude as an integer: unlike a float maximum it vectorizes, and NaN compares above
  // infinity.
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    largest = std::max(largest, std::bit_cast<std::int32_t>(g[i]) & 0x7fffffff);
    v[i] = momentum * v[i] + (g[i] + decay * w[i]);
    w[i] -= rate * v[i];
  }
  constexpr std::int32_t kInfinity = 0x7f800000;
  return largest < kInfinity;
}

}  // namespace gradwire::trainer
