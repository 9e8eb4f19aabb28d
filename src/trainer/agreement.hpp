#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "gradwire/communicator.hpp"

namespace gradwire::trainer {

/// FNV-1a of some bytes.
std::uint64_t fingerprint(std::span<const std::byte> bytes,
                          std::uint64_t seed = 0xcbf29ce484222325U) noexcept;

/// Each rank's number, by rank. Collective.
std::vector<std::uint64_t> values_of_all_ranks(Communicator& comm, std::uint64_t value);

/// Whether all ranks hold the same number; the same answer on every rank. Collective.
bool same_on_all_ranks(Communicator& comm, std::uint64_t value);

/// The mean over ranks, in float32. Collective.
double mean_over_ranks(Communicator& comm, double value);

}  // namespace gradwire::trainer
