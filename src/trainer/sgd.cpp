#include "trainer/sgd.hpp"

#include <bit>
#include <cstdint>

namespace gradwire::trainer {

bool Sgd::step(std::span<float> weights, std::span<const float> gradients) noexcept {
  const float rate = options_.learning_rate;
  const float momentum = options_.momentum;
  const float decay = options_.weight_decay;
  float* const __restrict w = weights.data();
  const float* const __restrict g = gradients.data();
  float* const __restrict v = velocity_.data();
  // Integers, as they vectorize where a test of floats would not: an exponent of all ones is an infinity or a
  // NaN.
  constexpr std::int32_t kExponent = 0x7f800000;
  std::int32_t not_finite = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    not_finite |= -static_cast<std::int32_t>((std::bit_cast<std::int32_t>(g[i]) & kExponent) == kExponent);
    const float velocity = momentum * v[i] + (g[i] + decay * w[i]);
    v[i] = velocity;
    w[i] -= rate * velocity;
  }
  return not_finite == 0;
}

}  // namespace gradwire::trainer
