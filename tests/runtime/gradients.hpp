#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "gradwire/reducer.hpp"
#include "tests/support/normal_floats.hpp"

namespace gradwire {

/// Three tensors with gradients that depend on rank, step and index.
class Gradients {
 public:
  explicit Gradients(int rank) : rank_(rank), weights_(40'000), bias_(50), head_(3000) {}

  std::vector<NamedTensor> tensors() {
    return {{"head", std::span(head_)}, {"bias", std::span(bias_)}, {"weights", std::span(weights_)}};
  }
  void fill(unsigned step) {
    NormalFloats normal(static_cast<unsigned>(rank_) * 1000 + step);
    for (auto* values : {&weights_, &bias_, &head_}) {
      for (float& value : *values) value = 0.3F + normal();
    }
  }
  std::vector<float>& weights() { return weights_; }
  std::vector<float>& bias() { return bias_; }
  std::vector<float> all() {
    std::vector<float> values;
    for (const auto* part : {&head_, &bias_, &weights_})
      values.insert(values.end(), part->begin(), part->end());
    return values;
  }

 private:
  int rank_;
  std::vector<float> weights_;
  std::vector<float> bias_;
  std::vector<float> head_;
};

/// Mean over ranks of all gradients of one step, element by element, and the mean of their magnitudes.
struct Expected {
  std::vector<double> mean;
  std::vector<double> magnitude;

  Expected(int ranks, unsigned step) {
    for (int rank = 0; rank < ranks; ++rank) {
      Gradients gradients(rank);
      gradients.fill(step);
      const auto values = gradients.all();
      mean.resize(values.size());
      magnitude.resize(values.size());
      for (std::size_t i = 0; i < values.size(); ++i) {
        mean[i] += values[i] / static_cast<double>(ranks);
        magnitude[i] += std::abs(values[i]) / static_cast<double>(ranks);
      }
    }
  }
};

}  // namespace gradwire
