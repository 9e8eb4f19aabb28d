#include "base/host_address.hpp"

#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "base/system_error.hpp"
#include "base/unique_fd.hpp"

namespace gradwire::base {
namespace {

struct InterfaceAddress {
  std::string interface;
  bool is_up = false;
  SocketAddress address;  ///< without a family for an interface that has none
};

std::vector<InterfaceAddress> interface_addresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) throw system_error("cannot list the network interfaces");
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  std::vector<InterfaceAddress> out;
  for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
    InterfaceAddress entry{each->ifa_name, (each->ifa_flags & IFF_UP) != 0, {}};
    const int family = each->ifa_addr == nullptr ? AF_UNSPEC : each->ifa_addr->sa_family;
    if (family == AF_INET) entry.address = copy_address(each->ifa_addr, sizeof(sockaddr_in));
    if (family == AF_INET6) entry.address = copy_address(each->ifa_addr, sizeof(sockaddr_in6));
    out.push_back(std::move(entry));
  }
  return out;
}

/// IPv4, else IPv6, else a link-local IPv6 one, which means nothing without its interface.
int preference(const SocketAddress& address) noexcept {
  if (address.family() == AF_INET) return 3;
  if (address.family() == AF_INET6) return address.is_link_local() ? 1 : 2;
  return 0;
}

/// The address that packets to `remote` leave from; nullopt with errno when no route leads there. Connecting
/// a UDP socket chooses the route and sends nothing.
std::optional<SocketAddress> source_towards(const SocketAddress& remote) {
  const SocketAddress target = remote.with_port(9);  // any port will do
  const UniqueFd probe(::socket(target.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  SocketAddress local;
  local.size = sizeof local.storage;
  const bool is_routed = probe && ::connect(probe.get(), target.get(), target.size) == 0 &&
                         ::getsockname(probe.get(), local.get(), &local.size) == 0;
  if (!is_routed) return std::nullopt;
  return local.with_port(0);
}

/// Names that mean loopback wherever they resolve at all.
bool names_loopback(const std::string& host) {
  const std::string name = lower_case(host);
  return is_localhost(host) || name == "ip6-localhost" || name.starts_with("localhost.");
}

}  // namespace

SocketAddress local_address(const std::string& interface) {
  if (interface.empty()) return numeric_address("127.0.0.1", 0);
  if (const auto found = try_numeric_address(interface); !found.empty()) {
    const SocketAddress& address = found.front();
    if (address.is_wildcard()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the address {} to listen at is a wildcard: no other rank could connect to it",
                              interface),
                  "name one interface or address of this host");
    }
    if (address.is_link_local() && address.scope() == 0) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the address {} to listen at does not say on which interface it is", interface),
                  fmt::format("write the interface's name after it, as in {}%eth0", interface));
    }
    return address;
  }
  SocketAddress best;
  std::set<std::string> names;
  for (const auto& entry : interface_addresses()) {
    names.insert(entry.interface);
    if (entry.interface == interface && preference(entry.address) > preference(best)) best = entry.address;
  }
  if (preference(best) > 0) return best.with_port(0);
  throw Error(ErrorCode::invalid_argument,
              names.contains(interface)
                  ? fmt::format("the network interface '{}' has no IP address", interface)
                  : fmt::format("there is no network interface '{}' here", interface),
              fmt::format("use an address of this host or one of: {}", fmt::join(names, ", ")));
}

SocketAddress local_address_towards(const std::string& host, const std::vector<SocketAddress>& addresses) {
  for (const auto& remote : addresses) {
    if (const auto local = source_towards(remote)) return *local;
  }
  throw system_error(fmt::format("no network interface leads to '{}'", host), "name one (interface)");
}

std::optional<SocketAddress> outward_address() {
  const auto leads_out = [](const SocketAddress& address) {
    return preference(address) > 1 && !address.is_loopback();
  };
  // Addresses set aside for documentation: no route but the default one leads there, as a rule.
  for (const char* far : {"198.51.100.1", "2001:db8::1"}) {
    const auto local = source_towards(numeric_address(far, 0));
    if (local && leads_out(*local)) return local;
  }
  SocketAddress best;
  for (const auto& entry : interface_addresses()) {
    if (!entry.is_up || !leads_out(entry.address)) continue;
    if (preference(entry.address) > preference(best)) best = entry.address;
  }
  if (preference(best) == 0) return std::nullopt;
  return best;
}

bool misleading_name(const std::string& host, const std::vector<SocketAddress>& addresses) {
  return !names_loopback(host) && try_numeric_address(host).empty() && !addresses.empty() &&
         std::all_of(addresses.begin(), addresses.end(),
                     [](const SocketAddress& address) { return address.is_loopback(); });
}

}  // namespace gradwire::base
