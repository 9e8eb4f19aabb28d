#pragma once

#include <chrono>

#include "base/socket_address.hpp"
#include "base/unique_fd.hpp"

/// Stream sockets, over TCP or a Unix socket, all of them non-blocking and closed on exec.
namespace gradwire::base {

/// A bound socket, which holds its port and refuses whoever connects until it is listened at; none with errno
/// in `error`.
[[nodiscard]] UniqueFd bind_at(const SocketAddress& address, int& error);

/// Lets others connect to it; false with errno in `error`.
[[nodiscard]] bool listen_on(const UniqueFd& bound, int& error);

/// Both; none with errno in `error`.
[[nodiscard]] UniqueFd listen_at(const SocketAddress& address, int& error);

/// A connected socket; none with errno in `error`, ETIMEDOUT at the deadline.
[[nodiscard]] UniqueFd connect_to(const SocketAddress& address,
                                  std::chrono::steady_clock::time_point deadline, int& error);

/// Has a TCP connection send small messages at once, and find out when the other host is gone.
void keep_lively(int fd) noexcept;

/// Waits for poll()'s `events`; false at the deadline.
[[nodiscard]] bool wait_for(int fd, short events, std::chrono::steady_clock::time_point deadline);

/// True when the process at the other end of a Unix socket runs as this user or as root.
[[nodiscard]] bool peer_is_this_user(int fd) noexcept;

}  // namespace gradwire::base
