#pragma once

#include <string>

namespace gradwire::rendezvous {

/// A host or address to which the interface leads that ranks should use among themselves: the host of a
/// tcp:// URL; one of this host's addresses when that name is its own and leads to loopback here only, or
/// when ranks of other hosts may be in the store and it has no address (file://, and the empty URL of a store
/// that a program made itself); empty when all ranks are on this host (unix://) or it has no such address.
/// Throws Error(invalid_argument).
std::string host_towards_store(const std::string& url);

}  // namespace gradwire::rendezvous
