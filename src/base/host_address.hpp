#pragma once

#include <string>
#include <vector>

#include "base/socket_address.hpp"

namespace gradwire::base {

/// This host's address that an option names: an interface ("eth0"), an address, or "" for loopback.
/// Throws Error(invalid_argument) listing the interfaces when there is no such one, and for a wildcard, which
/// nobody can connect to.
[[nodiscard]] SocketAddress local_address(const std::string& interface);

/// This host's address that packets to `host` leave from. Throws Error (invalid_argument, system).
[[nodiscard]] std::string local_address_towards(const std::string& host);

/// The address of this host that leads farthest: the default route's, else another that is not loopback,
/// IPv4 rather than IPv6; empty when there is none.
[[nodiscard]] std::string outward_address();

/// True for a name that leads to loopback although it does not say so: many a distribution gives a host's own
/// name a loopback address, in that host's own table only.
[[nodiscard]] bool misleading_name(const std::string& host, const std::vector<SocketAddress>& addresses);

}  // namespace gradwire::base
