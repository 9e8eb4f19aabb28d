#include "transport/socket_address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <set>

#include "base/unique_fd.hpp"
#include "transport/system_error.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {
namespace {

sockaddr_in& v4(SocketAddress& address) noexcept { return reinterpret_cast<sockaddr_in&>(address.storage); }
sockaddr_in6& v6(SocketAddress& address) noexcept { return reinterpret_cast<sockaddr_in6&>(address.storage); }
const sockaddr_in& v4(const SocketAddress& address) noexcept {
  return reinterpret_cast<const sockaddr_in&>(address.storage);
}
const sockaddr_in6& v6(const SocketAddress& address) noexcept {
  return reinterpret_cast<const sockaddr_in6&>(address.storage);
}

struct FreeAddrinfo {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};

using AddressList = std::unique_ptr<addrinfo, FreeAddrinfo>;

AddressList look_up(const std::string& host, int flags) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &list) != 0) return nullptr;
  return AddressList(list);
}

SocketAddress copy(const sockaddr* address, socklen_t size) {
  SocketAddress result;
  std::memcpy(&result.storage, address, size);
  result.size = size;
  return result;
}

/// The interface's best address: IPv4, else IPv6, else a link-local IPv6 one. Adds all names it meets to
/// `names`.
std::optional<SocketAddress> address_of_interface(const std::string& name, std::set<std::string>& names) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) throw system_error("cannot list the network interfaces");
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  std::optional<SocketAddress> best;
  const auto rank_of = [](const SocketAddress& address) {
    if (address.family() == AF_INET) return 2;
    return address.is_link_local() ? 0 : 1;
  };
  for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
    names.insert(each->ifa_name);
    if (name != each->ifa_name || each->ifa_addr == nullptr) continue;
    const int family = each->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    const auto address = copy(each->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    if (!best || rank_of(address) > rank_of(*best)) best = address;
  }
  return best;
}

}  // namespace

std::uint16_t SocketAddress::port() const noexcept {
  return ntohs(family() == AF_INET6 ? v6(*this).sin6_port : v4(*this).sin_port);
}

void SocketAddress::set_port(std::uint16_t port) noexcept {
  (family() == AF_INET6 ? v6(*this).sin6_port : v4(*this).sin_port) = htons(port);
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

std::string SocketAddress::text() const {
  return family() == AF_INET6 ? fmt::format("[{}]:{}", host(), port()) : fmt::format("{}:{}", host(), port());
}

SocketAddress numeric_address(const std::string& host, std::uint16_t port) {
  const auto found = look_up(host, AI_NUMERICHOST);
  if (!found) {
    throw Error(ErrorCode::invalid_argument, fmt::format("'{}' is no IP address", host),
                "write one like 10.0.0.1 or fd00::1");
  }
  SocketAddress address = copy(found->ai_addr, found->ai_addrlen);
  address.set_port(port);
  return address;
}

SocketAddress local_address(const std::string& interface) {
  if (interface.empty()) return numeric_address("127.0.0.1", 0);
  if (const auto found = look_up(interface, AI_NUMERICHOST)) {
    const SocketAddress address = copy(found->ai_addr, found->ai_addrlen);
    if (!address.is_wildcard()) return address;
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the address {} to listen at is a wildcard: no other rank could connect to it",
                            interface),
                "name one interface or address of this host");
  }
  std::set<std::string> names;
  if (auto address = address_of_interface(interface, names)) {
    address->set_port(0);
    return *address;
  }
  const bool known = names.contains(interface);
  std::string list;
  for (const auto& name : names) list += (list.empty() ? "" : ", ") + name;
  throw Error(ErrorCode::invalid_argument,
              known ? fmt::format("the network interface '{}' has no IP address", interface)
                    : fmt::format("there is no network interface '{}' here", interface),
              fmt::format("use an address of this host or one of: {}", list));
}

std::string local_address_towards(const std::string& host) {
  const auto found = look_up(host, 0);
  if (!found) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the host name '{}' cannot be resolved", host),
                "check its spelling and this host's DNS");
  }
  for (const addrinfo* each = found.get(); each != nullptr; each = each->ai_next) {
    SocketAddress remote = copy(each->ai_addr, each->ai_addrlen);
    remote.set_port(9);  // any port will do: connecting a UDP socket chooses the route and sends nothing
    const base::UniqueFd probe(::socket(remote.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    SocketAddress local;
    local.size = sizeof local.storage;
    if (probe && ::connect(probe.get(), remote.get(), remote.size) == 0 &&
        ::getsockname(probe.get(), local.get(), &local.size) == 0) {
      return local.host();
    }
  }
  throw system_error(fmt::format("no network interface leads to '{}'", host), "name one (interface)");
}

}  // namespace gradwire::transport
