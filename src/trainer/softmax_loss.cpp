#include "trainer/softmax_loss.hpp"

#include <algorithm>
#include <cmath>

namespace gradwire::trainer {

double softmax_cross_entropy(std::span<float> logits, std::size_t classes,
                             std::span<const std::uint8_t> labels, float scale) {
  double loss = 0;
  for (std::size_t row = 0; row < labels.size(); ++row) {
    const auto values = logits.subspan(row * classes, classes);
    const std::size_t label = labels[row];
    const float largest = *std::ranges::max_element(values);
    const float at_label = values[label] - largest;
    float sum = 0;
    for (float& value : values) {
      value = std::exp(value - largest);
      sum += value;
    }
    loss += static_cast<double>(std::log(sum)) - static_cast<double>(at_label);
    const float factor = scale / sum;
    for (float& value : values) value *= factor;
    values[label] -= scale;
  }
  return loss;
}

Score score(std::span<const float> logits, std::size_t classes, std::span<const std::uint8_t> labels) {
  Score result;
  for (std::size_t row = 0; row < labels.size(); ++row) {
    const auto values = logits.subspan(row * classes, classes);
    const auto largest = std::ranges::max_element(values);
    double sum = 0;
    for (const float value : values)
      sum += std::exp(static_cast<double>(value) - static_cast<double>(*largest));
    result.loss += std::log(sum) - (static_cast<double>(values[labels[row]]) - static_cast<double>(*largest));
    if (static_cast<std::size_t>(largest - values.begin()) == labels[row]) ++result.correct;
  }
  return result;
}

}  // namespace gradwire::trainer
