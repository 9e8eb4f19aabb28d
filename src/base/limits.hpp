#pragma once

#include <chrono>
#include <cstddef>

/// What a job may be, wherever it is said: in the environment, in options, in hellos.
namespace gradwire::base {

inline constexpr int kMaxRanks = 65536;
inline constexpr std::size_t kMaxJobBytes = 255;  ///< of its name
inline constexpr int kMaxConnections = 64;        ///< per peer

/// Whoever asks for more means for ever; sums of times must not overflow.
inline constexpr std::chrono::milliseconds kLongestTimeout = std::chrono::hours(24 * 365);

}  // namespace gradwire::base
