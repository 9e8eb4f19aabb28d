#include "rendezvous/store_socket.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

namespace gradwire::rendezvous {
namespace {

constexpr int kBacklog = 1024;

void set_option(int fd, int level, int option, int value) noexcept {
  // Only a hint to the kernel in every use here: a failure changes nothing that matters.
  (void)::setsockopt(fd, level, option, &value, sizeof value);
}

/// Waits for `events`; false at the deadline.
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

/// TCP can connect a socket to itself while nobody listens on a port that clients may be given.
bool connected_to_itself(int fd) {
  sockaddr_storage here{};
  sockaddr_storage there{};
  socklen_t here_size = sizeof here;
  socklen_t there_size = sizeof there;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&here), &here_size) == 0 &&
         ::getpeername(fd, reinterpret_cast<sockaddr*>(&there), &there_size) == 0 &&
         here_size == there_size && std::memcmp(&here, &there, here_size) == 0;
}

sockaddr_in& as_ipv4(sockaddr_storage& storage) { return reinterpret_cast<sockaddr_in&>(storage); }
sockaddr_in6& as_ipv6(sockaddr_storage& storage) { return reinterpret_cast<sockaddr_in6&>(storage); }

}  // namespace

bool SocketAddress::loopback() const noexcept {
  if (storage.ss_family == AF_INET) {
    return ntohl(reinterpret_cast<const sockaddr_in&>(storage).sin_addr.s_addr) >> 24U == 127;
  }
  return storage.ss_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr);
}

SocketAddress SocketAddress::with_port(std::uint16_t port) const noexcept {
  SocketAddress out = *this;
  if (storage.ss_family == AF_INET) as_ipv4(out.storage).sin_port = htons(port);
  if (storage.ss_family == AF_INET6) as_ipv6(out.storage).sin6_port = htons(port);
  return out;
}

std::vector<SocketAddress> resolve(const std::string& host, std::string& why) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), nullptr, &hints, &raw);
  if (failed != 0) {
    why = ::gai_strerror(failed);
    return {};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(raw, &::freeaddrinfo);
  std::vector<SocketAddress> out;
  for (const addrinfo* entry = raw; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    SocketAddress address;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.length = entry->ai_addrlen;
    const bool known = std::any_of(out.begin(), out.end(), [&](const SocketAddress& other) {
      return other.length == address.length &&
             std::memcmp(&other.storage, &address.storage, address.length) == 0;
    });
    if (!known) out.push_back(address);
  }
  if (out.empty()) why = "it has no IP address";
  return out;
}

bool misleading_name(const std::string& host, const std::vector<SocketAddress>& addresses) {
  const bool literal = host == "localhost" || host == "::1" || host.starts_with("127.");
  return !literal && !addresses.empty() &&
         std::all_of(addresses.begin(), addresses.end(),
                     [](const SocketAddress& address) { return address.loopback(); });
}

namespace {

/// This host's address that packets to `far` leave from; empty when no route leads there. Connecting a UDP
/// socket chooses the route and sends nothing.
std::string source_towards(const char* far) {
  std::string why;
  for (const auto& address : resolve(far, why)) {
    const auto remote = address.with_port(9);
    const base::UniqueFd probe(::socket(remote.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    SocketAddress local;
    local.length = sizeof local.storage;
    std::array<char, NI_MAXHOST> text{};
    if (probe && ::connect(probe.get(), remote.get(), remote.length) == 0 &&
        ::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&local.storage), &local.length) == 0 &&
        !local.loopback() &&
        ::getnameinfo(local.get(), local.length, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) == 0 &&
        std::string_view(text.data()).find('%') == std::string_view::npos) {
      return text.data();
    }
  }
  return {};
}

}  // namespace

std::string outward_address() {
  // Addresses set aside for documentation: no route but the default one leads there, as a rule.
  for (const char* far : {"198.51.100.1", "2001:db8::1"}) {
    std::string address = source_towards(far);
    if (!address.empty()) return address;
  }
  ifaddrs* raw = nullptr;
  if (::getifaddrs(&raw) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(raw, &::freeifaddrs);
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* entry = raw; entry != nullptr; entry = entry->ifa_next) {
      if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != family) continue;
      if ((entry->ifa_flags & IFF_LOOPBACK) != 0 || (entry->ifa_flags & IFF_UP) == 0) continue;
      const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      std::array<char, NI_MAXHOST> text{};
      // A link-local address means nothing without its interface.
      if (::getnameinfo(entry->ifa_addr, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) == 0 &&
          std::string_view(text.data()).find('%') == std::string_view::npos) {
        return text.data();
      }
    }
  }
  return {};
}

SocketAddress abstract_address(std::string_view name) {
  SocketAddress out;
  auto& address = reinterpret_cast<sockaddr_un&>(out.storage);
  address.sun_family = AF_UNIX;
  // A leading zero byte is what makes the name abstract: it is not a file, and goes away with its socket.
  const std::size_t size = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), size);
  out.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  return out;
}

std::vector<SocketAddress> every_address() {
  SocketAddress ipv6;
  as_ipv6(ipv6.storage).sin6_family = AF_INET6;
  as_ipv6(ipv6.storage).sin6_addr = in6addr_any;
  ipv6.length = sizeof(sockaddr_in6);
  SocketAddress ipv4;
  as_ipv4(ipv4.storage).sin_family = AF_INET;
  as_ipv4(ipv4.storage).sin_addr.s_addr = htonl(INADDR_ANY);
  ipv4.length = sizeof(sockaddr_in);
  return {ipv6, ipv4};
}

base::UniqueFd listen_at(const SocketAddress& address, int& error) {
  const int family = address.storage.ss_family;
  base::UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd && family != AF_UNIX) set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (fd && family == AF_INET6) {
    const bool any =
        IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_addr);
    set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, any ? 0 : 1);
  }
  if (fd && ::bind(fd.get(), address.get(), address.length) == 0 && ::listen(fd.get(), kBacklog) == 0) {
    error = 0;
    return fd;
  }
  error = errno;
  return {};
}

base::UniqueFd connect_to(const SocketAddress& address, Clock::time_point deadline, int& error) {
  const int family = address.storage.ss_family;
  base::UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    error = errno;
    return {};
  }
  if (family != AF_UNIX) {
    set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  }
  if (::connect(fd.get(), address.get(), address.length) != 0) {
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
  return error == 0 ? std::move(fd) : base::UniqueFd();
}

bool peer_is_this_user(int fd) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

bool send_all(int fd, std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      if (!wait_for(fd, POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool receive_all(int fd, char* out, std::size_t size, Clock::time_point deadline) {
  while (size > 0) {
    const auto got = ::recv(fd, out, size, 0);
    if (got > 0) {
      out += got;
      size -= static_cast<std::size_t>(got);
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || errno != EAGAIN || !wait_for(fd, POLLIN, deadline)) return false;
  }
  return true;
}

}  // namespace gradwire::rendezvous
