#pragma once

#include <cstdint>
#include <string>

#include "gradwire/communicator.hpp"
#include "trainer/checkpoint.hpp"

namespace gradwire::trainer {

/// Each rank writes its file of the set FILE.0, FILE.1, ...; nobody replaces a good file before all new ones
/// are safe. Collective. Throws Error(system).
void save_checkpoint_set(Communicator& comm, const std::string& file, const Checkpoint& checkpoint);

/// This rank's part of the newest set of which a rank has published its file, the same step on all ranks.
/// Ranks that were killed before they could publish theirs find it where it was written, and do so now.
/// Arguments and errors as for read_checkpoint(), and Error(invalid_argument) on all ranks when their files
/// were not written together. Collective.
Checkpoint load_checkpoint_set(Communicator& comm, const std::string& file, const Checkpoint& expected,
                               std::uint64_t most_state_bytes);

}  // namespace gradwire::trainer
