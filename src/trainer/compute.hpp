#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "gradwire/tensor.hpp"
#include "trainer/gemm.hpp"
#include "trainer/sgd_options.hpp"

// What cuda_runtime.h calls cudaStream_t.
struct CUstream_st;  // NOLINT(readability-identifier-naming)

namespace gradwire::trainer {

/// Where a model is, and what computes it: all that training does with a model's floats, an operation for
/// each pass over a layer. Pointers and spans of floats are to memory that allocate() gave, unless they are
/// called the host's. Operations happen in the order of the calls; each may still be under way when it
/// returns, unless it says that it waits. All are deterministic for a fixed shape, machine and number of
/// threads. For one thread at a time. All throw Error(system) when what computes refuses.
class Compute {
 public:
  Compute() = default;
  virtual ~Compute() = default;
  Compute(const Compute&) = delete;
  Compute& operator=(const Compute&) = delete;

  /// Where allocate()'s memory is.
  [[nodiscard]] virtual Device device() const noexcept = 0;
  /// What the operations are put on, for OperationOptions::stream; null on the host.
  [[nodiscard]] virtual CUstream_st* stream() const noexcept = 0;
  [[nodiscard]] Tensor tensor(std::span<float> values) const noexcept {
    return {values.data(), values.size(), DType::float32, device()};
  }

  /// Until all operations are done. Throws what went wrong meanwhile.
  void wait() {
    finish();
    ++waits_;
  }
  /// How often that has been waited for, by operations that wait as well: what was put before has happened
  /// when the number has changed.
  [[nodiscard]] std::uint64_t waits() const noexcept { return waits_; }

  /// All zeros, and apart from what operations under way still use.
  [[nodiscard]] virtual float* allocate(std::size_t count) = 0;
  /// What allocate(count) gave. Waits for what was put on it.
  virtual void release(float* values, std::size_t count) noexcept = 0;
  /// The host's memory, from and to which copies need no detour. Its values are anything.
  [[nodiscard]] virtual float* allocate_on_host(std::size_t count) = 0;
  virtual void release_on_host(float* values, std::size_t count) noexcept = 0;

  /// From the host's memory and to it, which is lent until somebody waits.
  virtual void begin_upload(std::span<const float> host, std::span<float> to) = 0;
  virtual void begin_download(std::span<const float> from, std::span<float> host) = 0;
  void upload(std::span<const float> host, std::span<float> to) {
    begin_upload(host, to);
    wait();
  }
  void download(std::span<const float> from, std::span<float> host) {
    begin_download(from, host);
    wait();
  }
  virtual void copy(std::span<const float> from, std::span<float> to) = 0;
  /// To +0.
  virtual void clear(std::span<float> values) = 0;

  /// C (m x n) = op(A) (m x k) times op(B) (k x n), all row-major and dense.
  virtual void gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, const float* a,
                    const float* b, float* c) = 0;
  /// To each of the rows.
  virtual void add_bias(float* values, const float* bias, std::size_t rows, std::size_t columns) = 0;
  /// The same, and what is below 0 becomes 0. A NaN survives, so that the loss shows it.
  virtual void add_bias_and_rectify(float* values, const float* bias, std::size_t rows,
                                    std::size_t columns) = 0;
  /// The sum of the rows, added in their order.
  virtual void sum_rows(const float* values, float* sums, std::size_t rows, std::size_t columns) = 0;
  /// Zero where the activation is not above 0.
  virtual void mask_rectified(float* delta, const float* activation, std::size_t count) = 0;

  /// As trainer::softmax_cross_entropy(); the labels are the host's. Waits.
  virtual double softmax_cross_entropy(std::span<float> logits, std::size_t classes,
                                       std::span<const std::uint8_t> labels, float scale) = 0;

  /// v = momentum v + g + weight_decay w, then w -= learning_rate v. Waits, and returns whether all gradients
  /// were finite.
  [[nodiscard]] virtual bool sgd_step(std::span<float> weights, std::span<const float> gradients,
                                      std::span<float> velocity, const SgdOptions& options) = 0;
  /// Waits.
  [[nodiscard]] virtual bool is_finite(std::span<const float> values) = 0;

  /// out = a - b.
  virtual void subtract(std::span<const float> a, std::span<const float> b, std::span<float> out) = 0;
  /// What a mean movement of models does: momentum = decay momentum + movement, model += momentum, and
  /// base = model + decay momentum.
  virtual void block_momentum_step(std::span<const float> movement, std::span<float> momentum,
                                   std::span<float> model, std::span<float> base, float decay) = 0;

 protected:
  virtual void finish() = 0;

 private:
  std::uint64_t waits_ = 0;
};

/// Floats of a Compute, which outlives them; zeros at first.
class Floats {
 public:
  Floats(Compute& compute, std::size_t count)
      : values_(compute.allocate(count), Release{&compute, count}), count_(count) {}

  [[nodiscard]] float* data() noexcept { return values_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] std::span<float> span() noexcept { return {values_.get(), count_}; }
  [[nodiscard]] std::span<const float> span() const noexcept { return {values_.get(), count_}; }

 private:
  struct Release {
    Compute* compute;
    std::size_t count;
    void operator()(float* values) const noexcept { compute->release(values, count); }
  };
  std::unique_ptr<float[], Release> values_;
  std::size_t count_;
};

}  // namespace gradwire::trainer
