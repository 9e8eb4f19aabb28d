#pragma once

#include "transport/transport.hpp"

namespace gradwire::transport {

/// connect() for ranks that are threads of one process.
std::unique_ptr<Endpoint> connect_inproc(const EndpointOptions& options, Store& store);

}  // namespace gradwire::transport
