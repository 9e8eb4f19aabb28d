#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace gradwire::transport {

/// An IPv4 or IPv6 address and a port.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] int family() const noexcept { return storage.ss_family; }
  [[nodiscard]] std::uint16_t port() const noexcept;
  void set_port(std::uint16_t port) noexcept;
  [[nodiscard]] bool is_loopback() const noexcept;
  /// Whether it stands for all addresses of a host.
  [[nodiscard]] bool is_wildcard() const noexcept;
  /// Of an IPv6 address that means something on one network only; 0 for all others.
  [[nodiscard]] std::uint32_t scope() const noexcept;
  void set_scope(std::uint32_t scope) noexcept;
  [[nodiscard]] bool is_link_local() const noexcept;

  [[nodiscard]] std::string host() const;  ///< "10.0.0.1", "fe80::1" (without a scope)
  [[nodiscard]] std::string text() const;  ///< "10.0.0.1:4711", "[::1]:4711"
};

/// From a numeric host ("10.0.0.1", "::1", "fe80::1%eth0") and a port. Throws Error(invalid_argument).
[[nodiscard]] SocketAddress numeric_address(const std::string& host, std::uint16_t port);

/// This host's address that an option names: an interface ("eth0"), an address, or "" for loopback.
/// Throws Error(invalid_argument) listing the interfaces when there is no such one, and for a wildcard, which
/// nobody can connect to.
[[nodiscard]] SocketAddress local_address(const std::string& interface);

}  // namespace gradwire::transport
