#pragma once

#include <fmt/format.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/stream_socket.hpp"
#include "base/unique_fd.hpp"
#include "tests/support/temporary_folder.hpp"

// Places for stores that nobody else uses.
namespace gradwire::rendezvous {

/// Whether this host can listen at the IPv6 loopback.
inline bool has_ipv6() {
  std::string why;
  const auto addresses = base::resolve("::1", why);
  int error = 0;
  if (!addresses.empty()) (void)base::listen_at(addresses.front(), error);
  return !addresses.empty() && error != EADDRNOTAVAIL && error != EAFNOSUPPORT;
}

/// Binds a socket to loopback and does not listen: nobody else is given the port as long as it is bound, but
/// a store, which reuses addresses as this socket does, can listen there.
inline base::UniqueFd bind_loopback(int family, std::uint16_t& port) {
  base::UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in ipv4{};
  ipv4.sin_family = AF_INET;
  ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ipv4.sin_port = htons(port);
  sockaddr_in6 ipv6{};
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_addr = in6addr_loopback;
  ipv6.sin6_port = htons(port);
  auto* address = family == AF_INET ? reinterpret_cast<sockaddr*>(&ipv4) : reinterpret_cast<sockaddr*>(&ipv6);
  socklen_t size = family == AF_INET ? sizeof ipv4 : sizeof ipv6;
  if (::bind(fd.get(), address, size) != 0) return {};
  if (family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  ::getsockname(fd.get(), address, &size);
  if (family == AF_INET) port = ntohs(ipv4.sin_port);
  return fd;
}

/// A port of both loopbacks that stays this program's own until it ends.
inline std::uint16_t reserve_port() {
  static std::vector<base::UniqueFd> reserved;
  for (;;) {
    std::uint16_t port = 0;
    base::UniqueFd ipv4 = bind_loopback(AF_INET, port);
    base::UniqueFd ipv6 = bind_loopback(AF_INET6, port);
    if (!ipv4 || (!ipv6 && has_ipv6())) continue;
    reserved.push_back(std::move(ipv4));
    reserved.push_back(std::move(ipv6));
    return port;
  }
}

/// A file that is not there yet, and goes away with this program.
inline std::string scratch_file(const std::string& name) {
  static const TemporaryFolder folder;
  static int count = 0;
  return (folder.path() / fmt::format("{}-{}", name, ++count)).string();
}

/// A fresh place for every use.
inline std::string fresh_url(const std::string& kind) {
  static int count = 0;
  ++count;
  if (kind == "tcp4") return fmt::format("tcp://127.0.0.1:{}?job=t{}", reserve_port(), count);
  if (kind == "tcp6") return fmt::format("tcp://[::1]:{}?job=t{}", reserve_port(), count);
  if (kind == "localhost") return fmt::format("tcp://localhost:{}?job=t{}", reserve_port(), count);
  if (kind == "window") return fmt::format("tcp://127.0.0.1:{}?ports=4&job=t{}", reserve_port(), count);
  if (kind == "unix") return fmt::format("unix://gradwire-test-{}-{}", getpid(), count);
  return fmt::format("file://{}?job=t{}", scratch_file("store"), count);
}

}  // namespace gradwire::rendezvous
