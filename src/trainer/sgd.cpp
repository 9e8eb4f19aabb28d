#include "trainer/sgd.hpp"

#include <bit>
#include <cstdint>

namespace gradwire::trainer {

namespace {

// Integers, as they vectorize where a test of floats would not: an exponent of all ones is an infinity or a
// NaN.
constexpr std::int32_t kExponent = 0x7f800000;

/// All bits set, or none.
std::int32_t not_finite(float value) noexcept {
  return -static_cast<std::int32_t>((std::bit_cast<std::int32_t>(value) & kExponent) == kExponent);
}

}  // namespace

bool is_finite(std::span<const float> values) noexcept {
  std::int32_t any = 0;
  for (const float value : values) any |= not_finite(value);
  return any == 0;
}

bool Sgd::step(std::span<float> weights, std::span<const float> gradients) noexcept {
  const float rate = options_.learning_rate;
  const float momentum = options_.momentum;
  const float decay = options_.weight_decay;
  float* const __restrict w = weights.data();
  const float* const __restrict g = gradients.data();
  float* const __restrict v = velocity_.data();
  std::int32_t any = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    any |= not_finite(g[i]);
    const float velocity = momentum * v[i] + (g[i] + decay * w[i]);
    v[i] = velocity;
    w[i] -= rate * velocity;
  }
  return any == 0;
}

}  // namespace gradwire::trainer
