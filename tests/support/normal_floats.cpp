#include "tests/support/normal_floats.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gradwire {

NormalFloats::NormalFloats(std::uint32_t seed, float deviation) : engine_(seed), normal_(0.0F, deviation) {}

float NormalFloats::operator()() { return normal_(engine_); }

std::vector<float> normal_floats(std::size_t count, std::uint32_t seed, float deviation) {
  NormalFloats normal(seed, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal();
  return values;
}

}  // namespace gradwire
