#include "base/random_bits.hpp"

#include <random>

namespace gradwire::base {

std::uint64_t random_bits() {
  std::random_device device;
  return std::uint64_t{device()} << 32U | device();
}

}  // namespace gradwire::base
