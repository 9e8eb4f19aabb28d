#pragma once

#include <memory>

#include "gradwire/communicator.hpp"
#include "transport/transport.hpp"

namespace gradwire::runtime {

/// Meets the other ranks and connects to them; null when this rank is alone. Fills in what `options` leaves
/// open. Throws Error as Communicator's constructor does.
std::unique_ptr<transport::Endpoint> join(CommunicatorOptions& options);

}  // namespace gradwire::runtime
