#pragma once

#include "trainer/compute.hpp"

namespace gradwire::trainer {

/// On the host, matrix products by oneDNN. Everything is done when a call returns.
class HostCompute final : public Compute {
 public:
  [[nodiscard]] Device device() const noexcept override { return {}; }
  [[nodiscard]] CUstream_st* stream() const noexcept override { return nullptr; }

  [[nodiscard]] float* allocate(std::size_t count) override;
  void release(float* values, std::size_t count) noexcept override;
  [[nodiscard]] float* allocate_on_host(std::size_t count) override { return allocate(count); }
  void release_on_host(float* values, std::size_t count) noexcept override { release(values, count); }

  void begin_upload(std::span<const float> host, std::span<float> to) override { copy(host, to); }
  void begin_download(std::span<const float> from, std::span<float> host) override { copy(from, host); }
  void copy(std::span<const float> from, std::span<float> to) override;
  void clear(std::span<float> values) override;

  void gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, const float* a, const float* b,
            float* c) override;
  void add_bias(float* values, const float* bias, std::size_t rows, std::size_t columns) override;
  void add_bias_and_rectify(float* values, const float* bias, std::size_t rows, std::size_t columns) override;
  void sum_rows(const float* values, float* sums, std::size_t rows, std::size_t columns) override;
  void mask_rectified(float* delta, const float* activation, std::size_t count) override;
  double softmax_cross_entropy(std::span<float> logits, std::size_t classes,
                               std::span<const std::uint8_t> labels, float scale) override;

  [[nodiscard]] bool sgd_step(std::span<float> weights, std::span<const float> gradients,
                              std::span<float> velocity, const SgdOptions& options) override;
  [[nodiscard]] bool is_finite(std::span<const float> values) override;
  void subtract(std::span<const float> a, std::span<const float> b, std::span<float> out) override;
  void block_momentum_step(std::span<const float> movement, std::span<float> momentum, std::span<float> model,
                           std::span<float> base, float decay) override;

 protected:
  void finish() override {}
};

}  // namespace gradwire::trainer
