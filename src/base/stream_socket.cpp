#include "base/stream_socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace gradwire::base {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBacklog = 4096;

void set_option(int fd, int level, int option, int value) noexcept {
  // Only a hint to the kernel in every use here: a failure changes nothing that matters.
  (void)::setsockopt(fd, level, option, &value, sizeof value);
}

/// TCP can connect a socket to itself while nobody listens on a port that clients may be given.
bool connected_to_itself(int fd) {
  SocketAddress here;
  SocketAddress there;
  here.size = there.size = sizeof here.storage;
  return ::getsockname(fd, here.get(), &here.size) == 0 && ::getpeername(fd, there.get(), &there.size) == 0 &&
         here.size == there.size && std::memcmp(&here.storage, &there.storage, here.size) == 0;
}

}  // namespace

void keep_lively(int fd) noexcept {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

bool wait_for(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count() + 1;
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (Clock::now() >= deadline) return false;
  }
}

UniqueFd bind_at(const SocketAddress& address, int& error) {
  const int family = address.family();
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd && family != AF_UNIX) set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (fd && family == AF_INET6) {
    set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, address.is_wildcard() ? 0 : 1);
  }
  if (fd && ::bind(fd.get(), address.get(), address.size) == 0) {
    error = 0;
    return fd;
  }
  error = errno;
  return {};
}

bool listen_on(const UniqueFd& bound, int& error) {
  error = ::listen(bound.get(), kBacklog) == 0 ? 0 : errno;
  return error == 0;
}

UniqueFd listen_at(const SocketAddress& address, int& error) {
  UniqueFd fd = bind_at(address, error);
  return fd && listen_on(fd, error) ? std::move(fd) : UniqueFd();
}

UniqueFd connect_to(const SocketAddress& address, Clock::time_point deadline, int& error) {
  const int family = address.family();
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    error = errno;
    return {};
  }
  if (::connect(fd.get(), address.get(), address.size) != 0) {
    error = errno;
    if (error != EINPROGRESS && error != EINTR) return {};
    if (!wait_for(fd.get(), POLLOUT, deadline)) {
      error = ETIMEDOUT;
      return {};
    }
    socklen_t size = sizeof error;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) return {};
  }
  error = family != AF_UNIX && connected_to_itself(fd.get()) ? ECONNREFUSED : 0;
  return error == 0 ? std::move(fd) : UniqueFd();
}

bool peer_is_this_user(int fd) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

}  // namespace gradwire::base
