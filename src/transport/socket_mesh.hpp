#pragma once

#include "transport/transport.hpp"

namespace gradwire::transport {

/// connect() for ranks that are processes, over shared memory and tcp.
std::unique_ptr<Endpoint> connect_sockets(const EndpointOptions& options, Store& store);

}  // namespace gradwire::transport
