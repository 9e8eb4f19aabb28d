#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "gradwire/export.hpp"

namespace gradwire {

/// How far workers of a parameter server may drift apart, counted in clocks. A worker's clock is the number
/// of steps it has finished (Q. Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel
/// Parameter Server", NIPS 2013).
///
/// A pull by a worker at clock c waits until every live worker's clock is at least c - staleness. What it
/// gets then holds every push stamped c - staleness - 1 or earlier, and later ones of others as they came.
/// Of its own pushes the worker sees all, but in step only those of the clocks before c, and under asp with a
/// lossy pull codec and more than 8 workers perhaps not the last ones.
struct Consistency {
  enum class Mode : std::uint8_t {
    bsp = 0,  ///< in step: a clock's pushes are added in the order of worker numbers, then one optimizer step
    ssp = 1,  ///< bounded staleness: each push is one optimizer step; ssp(0) is bsp
    asp = 2,  ///< nobody waits for anybody
  };

  Mode mode = Mode::bsp;
  std::uint32_t staleness = 0;  ///< clocks; of ssp only

  /// In step: "ssp" with a staleness of 0 is the same.
  [[nodiscard]] bool is_synchronous() const noexcept {
    return mode == Mode::bsp || (mode == Mode::ssp && staleness == 0);
  }

  friend bool operator==(const Consistency&, const Consistency&) = default;
};

/// "bsp", "ssp:3", "asp". Throws Error(invalid_argument) with the list of what is allowed.
GRADWIRE_EXPORT Consistency parse_consistency(std::string_view text);
/// What parse_consistency() takes.
GRADWIRE_EXPORT std::string to_string(const Consistency& consistency);

}  // namespace gradwire
