#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gradwire/store.hpp"

namespace gradwire::runtime {

/// How far a rank has come.
struct Position {
  std::uint32_t submitted = 0;   ///< operations
  std::uint64_t order_hash = 0;  ///< of all of them
  std::string waiting_for;
};

struct Positions {
  std::vector<std::optional<Position>> ranks;  ///< by rank; nullopt where no answer came
  bool store_hangs = false;                    ///< so that an answer could not come
};

/// Publishes this rank's position in `store`, under keys that begin with `prefix`, and collects those of the
/// others. Takes seconds at most, whoever does not answer, the store included; what a store throws means that
/// no more answers come from it. Throws Error(system) when there cannot be another thread.
Positions exchange_positions(const std::shared_ptr<Store>& store, const std::string& prefix, int rank,
                             int world_size, const Position& own);

}  // namespace gradwire::runtime
