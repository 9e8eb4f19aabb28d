#pragma once

#include <string>

#include "base/socket_address.hpp"
#include "base/unique_fd.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {

/// Listens at `address` (port 0: any free one, found in `address` afterwards).
/// Throws Error (invalid_argument when the address is not this host's, system).
[[nodiscard]] base::UniqueFd listen_tcp(base::SocketAddress& address);

/// Connects, waiting until `deadline` at most. Without a descriptor `problem` says why not.
[[nodiscard]] base::UniqueFd dial_tcp(const base::SocketAddress& address, Clock::time_point deadline,
                                      std::string& problem);

/// No delays for small frames; probes of silent peers; with a rate, small buffers, so that no bytes are
/// parked ahead of their turn.
void tune_tcp(const base::UniqueFd& socket, double link_rate) noexcept;

}  // namespace gradwire::transport
