#pragma once

#include <string>

#include "gradwire/communicator.hpp"

namespace gradwire::cli {

/// What connects this rank with the others: "shm", "shm+tcp", "none" for a rank alone.
std::string transports_in_use(const Communicator& communicator);

}  // namespace gradwire::cli
