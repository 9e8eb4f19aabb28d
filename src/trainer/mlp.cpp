#include "trainer/mlp.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "gradwire/error.hpp"
#include "trainer/float_arena.hpp"
#include "trainer/random.hpp"

namespace gradwire::trainer {

Mlp::Mlp(Compute& compute, std::vector<int> widths, std::size_t max_rows)
    : compute_(compute),
      widths_(std::move(widths)),
      max_rows_(max_rows),
      layout_(lay_out(widths_)),
      weights_(compute, layout_.floats),
      gradients_(compute, layout_.floats),
      activations_(matrices(compute, widths_, max_rows)),
      deltas_(matrices(compute, std::span(widths_).subspan(1, widths_.size() - 2), max_rows)),
      inputs_(compute, activations_.front().span()) {}

Mlp::Layout Mlp::lay_out(const std::vector<int>& widths) {
  if (widths.size() < 2 || std::ranges::any_of(widths, [](int width) { return width < 1; })) {
    throw Error(ErrorCode::invalid_argument, "a layer of the model has no units",
                "give hidden layers as positive numbers, --hidden 512,512 say");
  }
  Layout layout;
  const auto add_parameter = [&](std::string name, std::size_t elements) {
    layout.parameters.push_back({std::move(name), layout.floats, elements});
    layout.floats += padded(elements);
    return static_cast<int>(layout.parameters.size()) - 1;
  };
  layout.layers.resize(widths.size() - 1);
  for (std::size_t l = layout.layers.size(); l-- > 0;) {
    Layer& layer = layout.layers[l];
    layer.inputs = widths[l];
    layer.outputs = widths[l + 1];
    layer.weight =
        add_parameter(fmt::format("fc{}.weight", l + 1),
                      static_cast<std::size_t>(layer.inputs) * static_cast<std::size_t>(layer.outputs));
    layer.bias = add_parameter(fmt::format("fc{}.bias", l + 1), static_cast<std::size_t>(layer.outputs));
  }
  return layout;
}

std::vector<Floats> Mlp::matrices(Compute& compute, std::span<const int> widths, std::size_t rows) {
  std::vector<Floats> out;
  for (const int width : widths) out.emplace_back(compute, rows * static_cast<std::size_t>(width));
  return out;
}

void Mlp::initialize(std::uint64_t seed) {
  HostView weights(compute_, weights_.span());
  std::ranges::fill(weights.values(), 0.0F);
  Random random(seed);
  for (const Layer& layer : layout_.layers) {
    const Parameter& weight = parameter(layer.weight);
    const double deviation = std::sqrt(2.0 / layer.inputs);
    for (float& value : weights.values().subspan(weight.offset, weight.count)) {
      value = static_cast<float>(deviation * random.normal());
    }
  }
  weights.store();
}

const Parameter& Mlp::parameter(int index) const noexcept {
  return layout_.parameters[static_cast<std::size_t>(index)];
}

std::span<float> Mlp::values(int index) noexcept {
  return weights_.span().subspan(parameter(index).offset, parameter(index).count);
}

std::span<float> Mlp::gradient(int index) noexcept {
  return gradients_.span().subspan(parameter(index).offset, parameter(index).count);
}

std::span<float> Mlp::forward(std::size_t rows) {
  inputs_.store(rows * static_cast<std::size_t>(widths_.front()));
  for (std::size_t l = 0; l < layout_.layers.size(); ++l) {
    const Layer& layer = layout_.layers[l];
    const float* const bias = values(layer.bias).data();
    float* const out = activations_[l + 1].data();
    const auto outputs = static_cast<std::size_t>(layer.outputs);
    compute_.gemm(Transpose::no, Transpose::no, static_cast<int>(rows), layer.outputs, layer.inputs,
                  activations_[l].data(), values(layer.weight).data(), out);
    if (l + 1 < layout_.layers.size()) {
      compute_.add_bias_and_rectify(out, bias, rows, outputs);
    } else {
      compute_.add_bias(out, bias, rows, outputs);
    }
  }
  return activations_.back().span().first(rows * static_cast<std::size_t>(widths_.back()));
}

void Mlp::backward(std::size_t rows, const Ready& ready) {
  for (std::size_t l = layout_.layers.size(); l-- > 0;) {
    const Layer& layer = layout_.layers[l];
    const bool last = l + 1 == layout_.layers.size();
    const float* const delta = last ? activations_.back().data() : deltas_[l].data();
    if (rows == 0) {
      compute_.clear(gradient(layer.weight));
    } else {
      compute_.gemm(Transpose::yes, Transpose::no, layer.inputs, layer.outputs, static_cast<int>(rows),
                    activations_[l].data(), delta, gradient(layer.weight).data());
    }
    ready(layer.weight);
    compute_.sum_rows(delta, gradient(layer.bias).data(), rows, static_cast<std::size_t>(layer.outputs));
    ready(layer.bias);
    if (l == 0) break;
    float* const below = deltas_[l - 1].data();
    compute_.gemm(Transpose::no, Transpose::yes, static_cast<int>(rows), layer.inputs, layer.outputs, delta,
                  values(layer.weight).data(), below);
    compute_.mask_rectified(below, activations_[l].data(), rows * static_cast<std::size_t>(layer.inputs));
  }
}

}  // namespace gradwire::trainer
