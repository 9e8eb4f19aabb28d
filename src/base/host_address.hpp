#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/socket_address.hpp"

namespace gradwire::base {

/// This host's address that an option names: an interface ("eth0"), an address, or "" for loopback.
/// Throws Error(invalid_argument) listing the interfaces when there is no such one, for a wildcard, which
/// nobody can connect to, and for a link-local address without its interface.
[[nodiscard]] SocketAddress local_address(const std::string& interface);

/// This host's address that packets to one of `host`'s `addresses` leave from. Throws Error(system) when no
/// interface leads there.
[[nodiscard]] SocketAddress local_address_towards(const std::string& host,
                                                  const std::vector<SocketAddress>& addresses);

/// The address of this host that leads farthest: the default route's, else another that is not loopback,
/// IPv4 rather than IPv6; none when there is no such one.
[[nodiscard]] std::optional<SocketAddress> outward_address();

/// True for a name that leads to loopback although it does not say so, as "localhost" and addresses do: many
/// a distribution gives a host's own name a loopback address, in that host's own table only.
[[nodiscard]] bool misleading_name(const std::string& host, const std::vector<SocketAddress>& addresses);

}  // namespace gradwire::base
