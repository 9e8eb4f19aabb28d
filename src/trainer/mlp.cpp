#include "trainer/mlp.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gradwire/error.hpp"
#include "trainer/gemm.hpp"
#include "trainer/random.hpp"

namespace gradwire::trainer {

namespace {

void add_bias(float* values, const float* bias, std::size_t rows, std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row, values += columns) {
    for (std::size_t i = 0; i < columns; ++i) values[i] += bias[i];
  }
}

void add_bias_and_rectify(float* values, const float* bias, std::size_t rows, std::size_t columns) {
  for (std::size_t row = 0; row < rows; ++row, values += columns) {
    for (std::size_t i = 0; i < columns; ++i) {
      const float sum = values[i] + bias[i];
      // A NaN must survive, so that the loss shows it.
      values[i] = sum < 0.0F ? 0.0F : sum;
    }
  }
}

void sum_rows(const float* values, float* sums, std::size_t rows, std::size_t columns) {
  std::fill_n(sums, columns, 0.0F);
  for (std::size_t row = 0; row < rows; ++row, values += columns) {
    for (std::size_t i = 0; i < columns; ++i) sums[i] += values[i];
  }
}

void mask_rectified(float* delta, const float* activation, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) delta[i] = activation[i] > 0.0F ? delta[i] : 0.0F;
}

}  // namespace

Mlp::Mlp(std::vector<int> widths, std::size_t max_rows) : widths_(std::move(widths)), max_rows_(max_rows) {
  if (widths_.size() < 2 || std::ranges::any_of(widths_, [](int width) { return width < 1; })) {
    throw Error(ErrorCode::invalid_argument, "a layer of the model has no units",
                "give hidden layers as positive numbers, --hidden 512,512 say");
  }
  const std::size_t count = widths_.size() - 1;
  layers_.resize(count);
  std::size_t offset = 0;
  const auto add_parameter = [&](std::string name, std::size_t elements) {
    parameters_.push_back({std::move(name), offset, elements});
    offset += padded(elements);
    return static_cast<int>(parameters_.size()) - 1;
  };
  for (std::size_t l = count; l-- > 0;) {
    Layer& layer = layers_[l];
    layer.inputs = widths_[l];
    layer.outputs = widths_[l + 1];
    layer.weight =
        add_parameter(fmt::format("fc{}.weight", l + 1),
                      static_cast<std::size_t>(layer.inputs) * static_cast<std::size_t>(layer.outputs));
    layer.bias = add_parameter(fmt::format("fc{}.bias", l + 1), static_cast<std::size_t>(layer.outputs));
  }
  weights_.resize(offset);
  gradients_.resize(offset);
  deltas_.resize(count);
  for (std::size_t l = 0; l <= count; ++l) {
    const std::size_t elements = max_rows_ * static_cast<std::size_t>(widths_[l]);
    activations_.emplace_back(elements);
    if (l > 0 && l < count) deltas_[l].resize(elements);
  }
}

void Mlp::initialize(std::uint64_t seed) {
  std::ranges::fill(weights_, 0.0F);
  Random random(seed);
  for (const Layer& layer : layers_) {
    const Parameter& weight = parameters_[static_cast<std::size_t>(layer.weight)];
    const double deviation = std::sqrt(2.0 / layer.inputs);
    for (float& value : std::span(weights_).subspan(weight.offset, weight.count)) {
      value = static_cast<float>(deviation * random.normal());
    }
  }
}

std::span<float> Mlp::gradient(int parameter) noexcept {
  const Parameter& p = parameters_[static_cast<std::size_t>(parameter)];
  return std::span(gradients_).subspan(p.offset, p.count);
}

std::span<float> Mlp::forward(std::size_t rows) {
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const float* const weight = weights_.data() + parameters_[static_cast<std::size_t>(layer.weight)].offset;
    const float* const bias = weights_.data() + parameters_[static_cast<std::size_t>(layer.bias)].offset;
    float* const out = activations_[l + 1].data();
    const auto outputs = static_cast<std::size_t>(layer.outputs);
    gemm(Transpose::no, Transpose::no, static_cast<int>(rows), layer.outputs, layer.inputs,
         activations_[l].data(), weight, out);
    if (l + 1 < layers_.size()) {
      add_bias_and_rectify(out, bias, rows, outputs);
    } else {
      add_bias(out, bias, rows, outputs);
    }
  }
  return std::span(activations_.back()).first(rows * static_cast<std::size_t>(widths_.back()));
}

void Mlp::backward(std::size_t rows, const Ready& ready) {
  for (std::size_t l = layers_.size(); l-- > 0;) {
    const Layer& layer = layers_[l];
    const bool last = l + 1 == layers_.size();
    const float* const delta = last ? activations_.back().data() : deltas_[l + 1].data();
    const float* const weight = weights_.data() + parameters_[static_cast<std::size_t>(layer.weight)].offset;
    if (rows == 0) {
      std::ranges::fill(gradient(layer.weight), 0.0F);
    } else {
      gemm(Transpose::yes, Transpose::no, layer.inputs, layer.outputs, static_cast<int>(rows),
           activations_[l].data(), delta, gradient(layer.weight).data());
    }
    ready(layer.weight);
    sum_rows(delta, gradient(layer.bias).data(), rows, static_cast<std::size_t>(layer.outputs));
    ready(layer.bias);
    if (l == 0) break;
    gemm(Transpose::no, Transpose::yes, static_cast<int>(rows), layer.inputs, layer.outputs, delta, weight,
         deltas_[l].data());
    mask_rectified(deltas_[l].data(), activations_[l].data(), rows * static_cast<std::size_t>(layer.inputs));
  }
}

}  // namespace gradwire::trainer
