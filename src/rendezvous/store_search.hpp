#pragma once

#include "base/socket_address.hpp"
#include "base/unique_fd.hpp"
#include "rendezvous/store_protocol.hpp"
#include "rendezvous/store_socket.hpp"
#include "rendezvous/store_url.hpp"

namespace gradwire::rendezvous {

/// A connection on which the server has said welcome.
struct FoundStore {
  base::UniqueFd fd;
  base::SocketAddress address;
};

/// Tries every address and port that the URL allows, again and again, until the server of the hello's job
/// says welcome. Throws Error: timeout when none has; version_mismatch when what answers belongs to another
/// job or speaks another version; invalid_argument when somebody else has this rank.
FoundStore find_store(const StoreUrl& url, const StoreHello& hello, std::chrono::milliseconds timeout);

/// Listens where the URL says: on the addresses of its host, at the first of its ports that is free on all of
/// them. Listens on loopback only when the URL says so, on every interface when the host's name does not tell
/// which one. Throws Error(system, invalid_argument).
std::vector<base::UniqueFd> open_listeners(const StoreUrl& url, std::chrono::milliseconds timeout);

}  // namespace gradwire::rendezvous
