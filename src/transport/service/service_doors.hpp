#pragma once

#include <string>

#include "base/host_port.hpp"
#include "base/socket_address.hpp"
#include "base/unique_fd.hpp"
#include "transport/service.hpp"

namespace gradwire::transport {

/// Where a service listens.
struct ServiceDoors {
  base::SocketAddress address;
  base::UniqueFd tcp;    ///< with shm alone nobody can connect here: it holds the port, which names the other
  base::UniqueFd local;  ///< a Unix socket; none where only tcp is wanted
};

/// Opens them. Throws Error: invalid_argument when the place is not this host's, system.
[[nodiscard]] ServiceDoors open_doors(const ServiceOptions& options, const base::HostPort& place);

/// Where callers find it: of a service at all addresses the one that leads farthest.
[[nodiscard]] std::string address_for_callers(const base::SocketAddress& address);

}  // namespace gradwire::transport
