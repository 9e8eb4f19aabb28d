#include "trainer/host_compute.hpp"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/aligned_vector.hpp"
#include "trainer/gemm.hpp"
#include "trainer/softmax_loss.hpp"

namespace gradwire::trainer {

namespace {

using Allocator = base::AlignedAllocator<float>;

// Integers, as they vectorize where a test of floats would not: an exponent of all ones is an infinity or a
// NaN.
constexpr std::int32_t kExponent = 0x7f800000;

/// All bits set, or none.
std::int32_t not_finite(float value) noexcept {
  return -static_cast<std::int32_t>((std::bit_cast<std::int32_t>(value) & kExponent) == kExponent);
}

}  // namespace

float* HostCompute::allocate(std::size_t count) {
  float* const values = Allocator().allocate(count);
  std::fill_n(values, count, 0.0F);
  return values;
}

void HostCompute::release(float* values, std::size_t count) noexcept {
  Allocator().deallocate(values, count);
}

void HostCompute::copy(std::span<const float> from, std::span<float> to) {
  std::ranges::copy(from, to.begin());
}

void HostCompute::clear(std::span<float> values) { std::ranges::fill(values, 0.0F); }

void HostCompute::gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, const float* a,
                       const float* b, float* c) {
  trainer::gemm(transpose_a, transpose_b, m, n, k, a, b, c);
}

void HostCompute::add_bias(float* values, const float* bias, std::size_t rows, std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row, values += columns) {
    for (std::size_t i = 0; i < columns; ++i) values[i] += bias[i];
  }
}

void HostCompute::add_bias_and_rectify(float* values, const float* bias, std::size_t rows,
                                       std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row, values += columns) {
    for (std::size_t i = 0; i < columns; ++i) {
      const float sum = values[i] + bias[i];
      values[i] = sum < 0.0F ? 0.0F : sum;
    }
  }
}

void HostCompute::sum_rows(const float* values, float* sums, std::size_t rows, std::size_t columns) {
  std::fill_n(sums, columns, 0.0F);
  for (std::size_t row = 0; row < rows; ++row, values += columns) {
    for (std::size_t i = 0; i < columns; ++i) sums[i] += values[i];
  }
}

void HostCompute::mask_rectified(float* delta, const float* activation, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) delta[i] = activation[i] > 0.0F ? delta[i] : 0.0F;
}

double HostCompute::softmax_cross_entropy(std::span<float> logits, std::size_t classes,
                                          std::span<const std::uint8_t> labels, float scale) {
  return trainer::softmax_cross_entropy(logits, classes, labels, scale);
}

bool HostCompute::sgd_step(std::span<float> weights, std::span<const float> gradients,
                           std::span<float> velocity, const SgdOptions& options) {
  const float rate = options.learning_rate;
  const float momentum = options.momentum;
  const float decay = options.weight_decay;
  float* const __restrict w = weights.data();
  const float* const __restrict g = gradients.data();
  float* const __restrict v = velocity.data();
  std::int32_t any = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    any |= not_finite(g[i]);
    const float next = momentum * v[i] + (g[i] + decay * w[i]);
    v[i] = next;
    w[i] -= rate * next;
  }
  return any == 0;
}

bool HostCompute::is_finite(std::span<const float> values) {
  std::int32_t any = 0;
  for (const float value : values) any |= not_finite(value);
  return any == 0;
}

void HostCompute::subtract(std::span<const float> a, std::span<const float> b, std::span<float> out) {
  std::ranges::transform(a, b, out.begin(), std::minus<>());
}

void HostCompute::block_momentum_step(std::span<const float> movement, std::span<float> momentum,
                                      std::span<float> model, std::span<float> base, float decay) {
  for (std::size_t i = 0; i < model.size(); ++i) {
    momentum[i] = decay * momentum[i] + movement[i];
    model[i] += momentum[i];
    base[i] = model[i] + decay * momentum[i];
  }
}

}  // namespace gradwire::trainer
