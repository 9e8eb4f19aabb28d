#pragma once

#include <cstdint>

namespace gradwire::base {

/// 64 bits that nobody can foretell, from the operating system: no other process draws the same.
[[nodiscard]] std::uint64_t random_bits();

}  // namespace gradwire::base
