#include "base/socket_address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstring>
#include <memory>

#include "gradwire/error.hpp"

namespace gradwire::base {
namespace {

sockaddr_in& v4(SocketAddress& address) noexcept { return reinterpret_cast<sockaddr_in&>(address.storage); }
sockaddr_in6& v6(SocketAddress& address) noexcept { return reinterpret_cast<sockaddr_in6&>(address.storage); }
const sockaddr_in& v4(const SocketAddress& address) noexcept {
  return reinterpret_cast<const sockaddr_in&>(address.storage);
}
const sockaddr_in6& v6(const SocketAddress& address) noexcept {
  return reinterpret_cast<const sockaddr_in6&>(address.storage);
}

std::vector<SocketAddress> look_up(const std::string& host, int flags, std::string& why) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* raw = nullptr;
  if (const int failed = ::getaddrinfo(host.c_str(), nullptr, &hints, &raw); failed != 0) {
    why = ::gai_strerror(failed);
    return {};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(raw, &::freeaddrinfo);
  std::vector<SocketAddress> found;
  for (const addrinfo* entry = raw; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    const SocketAddress address = copy_address(entry->ai_addr, entry->ai_addrlen);
    const bool is_known = std::any_of(found.begin(), found.end(), [&](const SocketAddress& other) {
      return other.size == address.size && std::memcmp(&other.storage, &address.storage, address.size) == 0;
    });
    if (!is_known) found.push_back(address);
  }
  if (found.empty()) why = "it has no IP address";
  return found;
}

}  // namespace

std::uint16_t SocketAddress::port() const noexcept {
  return ntohs(family() == AF_INET6 ? v6(*this).sin6_port : v4(*this).sin_port);
}

void SocketAddress::set_port(std::uint16_t port) noexcept {
  if (family() == AF_INET6) v6(*this).sin6_port = htons(port);
  if (family() == AF_INET) v4(*this).sin_port = htons(port);
}

SocketAddress SocketAddress::with_port(std::uint16_t port) const noexcept {
  SocketAddress out = *this;
  out.set_port(port);
  return out;
}

bool SocketAddress::is_loopback() const noexcept {
  if (family() == AF_INET) return (ntohl(v4(*this).sin_addr.s_addr) >> 24U) == IN_LOOPBACKNET;
  return family() == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6(*this).sin6_addr);
}

bool SocketAddress::is_wildcard() const noexcept {
  if (family() == AF_INET) return v4(*this).sin_addr.s_addr == htonl(INADDR_ANY);
  if (family() != AF_INET6) return false;
  // Also ::ffff:0.0.0.0, which is IPv4's.
  const in6_addr& address = v6(*this).sin6_addr;
  in6_addr mapped = IN6ADDR_ANY_INIT;
  mapped.s6_addr[10] = mapped.s6_addr[11] = 0xFF;
  return IN6_IS_ADDR_UNSPECIFIED(&address) || IN6_ARE_ADDR_EQUAL(&address, &mapped);
}

bool SocketAddress::is_link_local() const noexcept {
  return family() == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&v6(*this).sin6_addr);
}

std::uint32_t SocketAddress::scope() const noexcept { return is_link_local() ? v6(*this).sin6_scope_id : 0; }

void SocketAddress::set_scope(std::uint32_t scope) noexcept {
  if (is_link_local()) v6(*this).sin6_scope_id = scope;
}

std::string SocketAddress::host() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* raw =
      family() == AF_INET6 ? static_cast<const void*>(&v6(*this).sin6_addr) : &v4(*this).sin_addr;
  if (::inet_ntop(family(), raw, text.data(), text.size()) == nullptr) return "?";
  return text.data();
}

std::string SocketAddress::scoped_host() const {
  std::array<char, NI_MAXHOST> text{};
  const int failed = ::getnameinfo(get(), size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST);
  return failed == 0 ? text.data() : host();
}

std::string SocketAddress::text() const {
  return family() == AF_INET6 ? fmt::format("[{}]:{}", host(), port()) : fmt::format("{}:{}", host(), port());
}

SocketAddress copy_address(const sockaddr* address, socklen_t size) {
  SocketAddress result;
  result.size = std::min(size, static_cast<socklen_t>(sizeof result.storage));
  std::memcpy(&result.storage, address, result.size);
  return result;
}

std::string lower_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool is_localhost(const std::string& host) {
  const std::string name = lower_case(host);
  return name == "localhost" || name.ends_with(".localhost");
}

std::vector<SocketAddress> resolve(const std::string& host, std::string& why) {
  auto found = look_up(host, 0, why);
  // A bare container may have neither /etc/hosts nor DNS, and needs neither for these.
  if (found.empty() && is_localhost(host)) found = try_numeric_address("127.0.0.1");
  return found;
}

std::vector<SocketAddress> try_numeric_address(const std::string& host) {
  std::string why;
  return look_up(host, AI_NUMERICHOST, why);
}

SocketAddress numeric_address(const std::string& host, std::uint16_t port) {
  const auto found = try_numeric_address(host);
  if (found.empty()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("'{}' is no IP address", host),
                "write one like 10.0.0.1 or fd00::1");
  }
  return found.front().with_port(port);
}

SocketAddress abstract_address(std::string_view name) {
  SocketAddress out;
  auto& address = reinterpret_cast<sockaddr_un&>(out.storage);
  address.sun_family = AF_UNIX;
  // An abstract name begins with a zero byte and ends with the address.
  const std::size_t size = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), size);
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  return out;
}

std::vector<SocketAddress> every_address() {
  SocketAddress ipv6;
  v6(ipv6).sin6_family = AF_INET6;
  v6(ipv6).sin6_addr = in6addr_any;
  ipv6.size = sizeof(sockaddr_in6);
  SocketAddress ipv4;
  v4(ipv4).sin_family = AF_INET;
  v4(ipv4).sin_addr.s_addr = htonl(INADDR_ANY);
  ipv4.size = sizeof(sockaddr_in);
  return {ipv6, ipv4};
}

}  // namespace gradwire::base
