#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "trainer/compute.hpp"
#include "trainer/host_view.hpp"

namespace gradwire::trainer {

/// A run of the arenas that is one weight matrix or bias.
struct Parameter {
  std::string name;  ///< "fc1.weight", "fc1.bias", ...
  std::size_t offset = 0;
  std::size_t count = 0;
};

/// A multilayer perceptron with ReLU between its layers, where its Compute is. Weights lie in one arena and
/// gradients in another of the same layout, the parameters in the order in which the backward pass produces
/// their gradients. For one thread at a time.
class Mlp {
 public:
  /// Called with the index of a parameter whose gradient is complete, or will be by what the Compute has
  /// under way.
  using Ready = std::function<void(int)>;

  /// `widths`: inputs, hidden layers, classes. Up to `max_rows` rows can pass at once. The Compute outlives
  /// the model.
  Mlp(Compute& compute, std::vector<int> widths, std::size_t max_rows);

  /// He initialization: weights normal with variance 2 / inputs, biases 0.
  void initialize(std::uint64_t seed);

  [[nodiscard]] Compute& compute() const noexcept { return compute_; }
  [[nodiscard]] const std::vector<int>& widths() const noexcept { return widths_; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const noexcept { return layout_.parameters; }
  [[nodiscard]] std::size_t max_rows() const noexcept { return max_rows_; }
  [[nodiscard]] std::span<float> weights() noexcept { return weights_.span(); }
  [[nodiscard]] std::span<float> gradients() noexcept { return gradients_.span(); }
  [[nodiscard]] std::span<float> gradient(int index) noexcept;

  /// The host's memory, where the caller puts the rows of inputs before forward().
  [[nodiscard]] std::span<float> inputs() { return inputs_.values(); }

  /// Where forward() puts them: room for those of max_rows() rows.
  [[nodiscard]] std::span<float> logits() noexcept { return activations_.back().span(); }
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
  struct Layout {
    std::vector<Layer> layers;
    std::vector<Parameter> parameters;
    std::size_t floats = 0;  ///< of an arena
  };
  [[nodiscard]] const Parameter& parameter(int index) const noexcept;
  [[nodiscard]] std::span<float> values(int index) noexcept;
  static Layout lay_out(const std::vector<int>& widths);
  /// Of `rows` rows for each of these widths.
  static std::vector<Floats> matrices(Compute& compute, std::span<const int> widths, std::size_t rows);

  Compute& compute_;
  std::vector<int> widths_;
  std::size_t max_rows_;
  Layout layout_;
  Floats weights_;
  Floats gradients_;
  /// activations_[l]: the input of layer l; the last one holds the logits.
  std::vector<Floats> activations_;
  /// deltas_[l - 1]: the loss's gradient with respect to activations_[l], for the hidden layers.
  std::vector<Floats> deltas_;
  HostView inputs_;
};

}  // namespace gradwire::trainer
