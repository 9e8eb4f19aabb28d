#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gradwire::base {

/// Where a socket listens: an IPv4 or IPv6 address with its port, or an abstract Unix socket's name.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] int family() const noexcept { return storage.ss_family; }

  // The rest means something for IP addresses only.
  [[nodiscard]] std::uint16_t port() const noexcept;
  void set_port(std::uint16_t port) noexcept;
  [[nodiscard]] SocketAddress with_port(std::uint16_t port) const noexcept;
  [[nodiscard]] bool is_loopback() const noexcept;
  /// Whether it stands for all addresses of a host.
  [[nodiscard]] bool is_wildcard() const noexcept;
  [[nodiscard]] bool is_link_local() const noexcept;
  /// Of an IPv6 address that means something on one network only; 0 for all others.
  [[nodiscard]] std::uint32_t scope() const noexcept;
  void set_scope(std::uint32_t scope) noexcept;

  [[nodiscard]] std::string host() const;  ///< "10.0.0.1", "fe80::1" (without a scope)
  /// "10.0.0.1", "fe80::1%eth0": what numeric_address() makes the same address of, on this host.
  [[nodiscard]] std::string scoped_host() const;
  [[nodiscard]] std::string text() const;  ///< "10.0.0.1:4711", "[::1]:4711"
};

/// The first `size` bytes of a system call's answer.
[[nodiscard]] SocketAddress copy_address(const sockaddr* address, socklen_t size);

[[nodiscard]] std::string lower_case(std::string text);
/// Whether a name means loopback by RFC 6761: "localhost", or within ".localhost".
[[nodiscard]] bool is_localhost(const std::string& host);

/// All addresses of a host, each once, with port 0. When there are none, `why` tells the reason.
[[nodiscard]] std::vector<SocketAddress> resolve(const std::string& host, std::string& why);

/// From a numeric host ("10.0.0.1", "::1", "fe80::1%eth0") and a port. Throws Error(invalid_argument).
[[nodiscard]] SocketAddress numeric_address(const std::string& host, std::uint16_t port);

/// The same without a port, empty for anything else.
[[nodiscard]] std::vector<SocketAddress> try_numeric_address(const std::string& host);

/// A Unix socket that is no file: it belongs to the network namespace and goes away with the last who has it.
[[nodiscard]] SocketAddress abstract_address(std::string_view name);

/// The wildcards: IPv6 and IPv4 at once where the host has both, then IPv4 alone.
[[nodiscard]] std::vector<SocketAddress> every_address();

}  // namespace gradwire::base
