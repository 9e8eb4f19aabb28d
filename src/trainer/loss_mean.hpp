#pragma once

#include <cstddef>
#include <cstdint>

namespace gradwire::trainer {

/// The mean loss over samples.
struct LossMean {
  double sum = 0;
  std::uint64_t samples = 0;
  void add(double mean, std::size_t count) {
    sum += mean * static_cast<double>(count);
    samples += count;
  }
  [[nodiscard]] double value() const { return samples == 0 ? 0 : sum / static_cast<double>(samples); }
};

}  // namespace gradwire::trainer
