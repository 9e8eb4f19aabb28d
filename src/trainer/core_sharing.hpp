#pragma once

#include <cstdint>

#include "gradwire/communicator.hpp"

namespace gradwire::trainer {

/// The same number for threads of one machine that may run on the same cores, in whatever process. Others
/// have different ones: other machines, and ranks that their launcher has bound to cores of their own.
std::uint64_t usable_cores();

/// The same number for all threads of a machine.
std::uint64_t this_machine();

/// How many ranks before this one gave the same number. Collective.
int place_among_equals(Communicator& comm, std::uint64_t number);

/// How many ranks, this one included, gave the same number. Collective.
int ranks_sharing(Communicator& comm, std::uint64_t cores);

}  // namespace gradwire::trainer
