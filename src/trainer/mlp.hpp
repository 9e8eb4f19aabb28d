#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "trainer/float_arena.hpp"

namespace gradwire::trainer {

/// A run of the arenas that is one weight matrix or bias.
struct Parameter {
  std::string name;  ///< "fc1.weight", "fc1.bias", ...
  std::size_t offset = 0;
  std::size_t count = 0;
};

/// A multilayer perceptron with ReLU between its layers. Weights lie in one arena and gradients in another of
/// the same layout, the parameters in the order in which the backward pass produces their gradients. For one
/// thread at a time.
class Mlp {
 public:
  /// Called with the index of a parameter whose gradient is complete.
  using Ready = std::function<void(int)>;

  /// `widths`: inputs, hidden layers, classes. Up to `max_rows` rows can pass at once.
  Mlp(std::vector<int> widths, std::size_t max_rows);

  /// He initialization: weights normal with variance 2 / inputs, biases 0.
  void initialize(std::uint64_t seed);

  [[nodiscard]] const std::vector<int>& widths() const noexcept { return widths_; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const noexcept { return parameters_; }
  [[nodiscard]] std::size_t max_rows() const noexcept { return max_rows_; }
  [[nodiscard]] std::span<float> weights() noexcept { return weights_; }
  [[nodiscard]] std::span<float> gradients() noexcept { return gradients_; }
  [[nodiscard]] std::span<float> gradient(int parameter) noexcept;

  /// Where the caller puts the rows of inputs before forward().
  [[nodiscard]] std::span<float> inputs() noexcept { return activations_.front(); }

  /// The logits of the first `rows` rows of inputs(), to be replaced by their gradient before backward().
  std::span<float> forward(std::size_t rows);
  /// Fills the gradients, given that of the logits in the span that forward() returned.
  void backward(std::size_t rows, const Ready& ready);

 private:
  struct Layer {
    int inputs = 0;
    int outputs = 0;
    int weight = 0;  ///< indices into parameters_
    int bias = 0;
  };

  std::vector<int> widths_;
  std::size_t max_rows_;
  std::vector<Layer> layers_;
  std::vector<Parameter> parameters_;
  FloatArena weights_;
  FloatArena gradients_;
  std::vector<FloatArena>
      activations_;                 ///< activations_[l]: the input of layer l; the last one holds the logits
  std::vector<FloatArena> deltas_;  ///< deltas_[l]: the loss's gradient with respect to activations_[l]
};

}  // namespace gradwire::trainer
