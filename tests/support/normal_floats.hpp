#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace gradwire {

/// Normally distributed numbers, the same for the same seed. Compiled with optimization and without
/// sanitizers in every build, since the tests draw hundreds of millions of them.
class NormalFloats {
 public:
  explicit NormalFloats(std::uint32_t seed, float deviation = 1.0F);
  float operator()();

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

std::vector<float> normal_floats(std::size_t count, std::uint32_t seed, float deviation = 1.0F);

}  // namespace gradwire
