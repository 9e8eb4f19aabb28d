#include "rendezvous/address_towards_store.hpp"

#include <fmt/format.h>

#include "base/host_address.hpp"
#include "gradwire/error.hpp"
#include "rendezvous/store_url.hpp"

namespace gradwire::rendezvous {

std::optional<base::SocketAddress> address_towards_store(const std::string& url) {
  if (url.empty()) return base::outward_address();
  const StoreUrl parsed = parse_store_url(url);
  if (parsed.scheme == StoreUrl::Scheme::unix_socket) return std::nullopt;
  const bool is_nowhere = parsed.scheme == StoreUrl::Scheme::file || parsed.scheme == StoreUrl::Scheme::mpi;
  if (is_nowhere) return base::outward_address();
  std::string why;
  const auto addresses = base::resolve(parsed.place, why);
  if (addresses.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the host name '{}' cannot be resolved: {}", parsed.place, why),
                "check its spelling and this host's DNS");
  }
  if (base::misleading_name(parsed.place, addresses)) {
    if (auto outward = base::outward_address()) return outward;
  }
  return base::local_address_towards(parsed.place, addresses);
}

}  // namespace gradwire::rendezvous
