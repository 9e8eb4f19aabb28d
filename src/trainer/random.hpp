#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace gradwire::trainer {

/// SplitMix64: the same numbers on every platform, which the standard library's distributions don't promise.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t next() noexcept {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }

  /// In [0, bound); the bias of the multiplication is below bound / 2^32.
  std::uint32_t below(std::uint32_t bound) noexcept {
    return static_cast<std::uint32_t>(((next() >> 32U) * bound) >> 32U);
  }

  /// In (0, 1).
  double uniform() noexcept { return (static_cast<double>(next() >> 12U) + 0.5) * 0x1p-52; }

  /// Mean 0, variance 1 (Box-Muller).
  double normal() noexcept {
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }

 private:
  std::uint64_t state_;
};

}  // namespace gradwire::trainer
