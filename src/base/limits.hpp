#pragma once

#include <cstddef>

/// What a job may be, wherever it is said: in the environment, in options, in hellos.
namespace gradwire::base {

inline constexpr int kMaxRanks = 65536;
inline constexpr std::size_t kMaxJobBytes = 255;  ///< of its name
inline constexpr int kMaxConnections = 64;        ///< per peer

}  // namespace gradwire::base
