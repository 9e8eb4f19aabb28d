#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.hpp"

namespace gradwire::rendezvous {

using Clock = std::chrono::steady_clock;

/// Where a socket listens: an IPv4 or IPv6 address with its port, or an abstract Unix socket's name.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] bool loopback() const noexcept;
  [[nodiscard]] SocketAddress with_port(std::uint16_t port) const noexcept;
};

/// All addresses of a host, each once. When there are none, `why` tells the reason.
std::vector<SocketAddress> resolve(const std::string& host, std::string& why);

/// True for a name that leads to loopback although it does not say so: many a distribution gives a host's own
/// name a loopback address, in that host's own table only.
bool misleading_name(const std::string& host, const std::vector<SocketAddress>& addresses);

/// The address of this host that leads farthest, as text: the default route's, else another that is not
/// loopback, IPv4 rather than IPv6; empty when there is none.
std::string outward_address();

SocketAddress abstract_address(std::string_view name);

/// Every address of this host: IPv6 and IPv4 at once where the host has both.
std::vector<SocketAddress> every_address();

/// A listening, non-blocking socket; none with errno in `error`.
base::UniqueFd listen_at(const SocketAddress& address, int& error);

/// A connected socket; none with errno in `error`, ETIMEDOUT at the deadline.
base::UniqueFd connect_to(const SocketAddress& address, Clock::time_point deadline, int& error);

/// True when the process at the other end of a Unix socket runs as this user or as root.
bool peer_is_this_user(int fd) noexcept;

/// On a non-blocking socket; false when the connection broke or the deadline came first.
bool send_all(int fd, std::string_view bytes, Clock::time_point deadline);
bool receive_all(int fd, char* out, std::size_t size, Clock::time_point deadline);

}  // namespace gradwire::rendezvous
