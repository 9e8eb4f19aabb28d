#include "rendezvous/host_towards_store.hpp"

#include "base/host_address.hpp"
#include "rendezvous/store_url.hpp"

namespace gradwire::rendezvous {

std::string host_towards_store(const std::string& url) {
  if (url.empty()) return base::outward_address();
  const StoreUrl parsed = parse_store_url(url);
  if (parsed.scheme == StoreUrl::Scheme::unix_socket) return {};
  if (parsed.scheme == StoreUrl::Scheme::file) return base::outward_address();
  std::string why;
  if (base::misleading_name(parsed.place, base::resolve(parsed.place, why))) {
    std::string outward = base::outward_address();
    if (!outward.empty()) return outward;
  }
  return parsed.place;
}

}  // namespace gradwire::rendezvous
