#pragma once

#include <cstdint>
#include <functional>

// The threads of a CUDA block as fibers of one host thread. A fiber runs until it comes to something that it
// has to meet others at. They are then looked at: all lanes of a warp must have come to the same vote or
// exchange, and all warps of the block to the same barrier. A device would not complain, but hang or answer
// with anything; here the program is aborted.

namespace cuda_on_host {

inline constexpr unsigned kLanes = 32;

enum class At : std::uint8_t { nothing, ballot, exchange, barrier, end };

/// Runs a block's threads to their end. `switched(i)` is called before thread i goes on. Backwards: the last
/// thread goes first, so that what depends on their order is seen.
void run_block(unsigned threads, bool backwards, const std::function<void()>& body,
               const std::function<void(unsigned)>& switched);

/// Called by one of these threads: waits for those that it meets there, and returns what they gave it.
/// `distance`: of an exchange.
unsigned meet(At at, unsigned given, unsigned distance);

}  // namespace cuda_on_host
