#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
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

/// A setting's name and its value as text.
using Setting = std::pair<std::string, std::string>;

/// Throws Error(invalid_argument) on every rank unless all ranks hold the same settings; it names the first
/// that differs. Collective.
void require_agreement_on(Communicator& comm, const std::vector<Setting>& settings);

/// As lines of "name: value", with a fingerprint in place of a long value: for those whom a rank that comes
/// back asks instead of the others.
[[nodiscard]] std::string lines_of(const std::vector<Setting>& settings);

/// The mean over ranks, in float32. Collective.
double mean_over_ranks(Communicator& comm, double value);

}  // namespace gradwire::trainer
