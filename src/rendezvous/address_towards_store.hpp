#pragma once

#include <optional>
#include <string>

#include "base/socket_address.hpp"

namespace gradwire::rendezvous {

/// This host's address that ranks of the store should use among themselves: the one that leads to the host of
/// a tcp:// URL; the one that leads farthest when that host's name is this one's own and leads to loopback
/// here only, or when ranks of other hosts may be in the store and it has no address (file://, mpi://, and
/// the empty URL of a store that a program made itself); none when all ranks are on this host (unix://) or it
/// has no such address. Throws Error (invalid_argument, system).
std::optional<base::SocketAddress> address_towards_store(const std::string& url);

}  // namespace gradwire::rendezvous
