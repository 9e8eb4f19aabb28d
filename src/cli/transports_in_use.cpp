#include "cli/transports_in_use.hpp"

#include <set>

namespace gradwire::cli {

std::string transports_in_use(const Communicator& communicator) {
  std::set<std::string> kinds;
  for (int peer = 0; peer < communicator.world_size(); ++peer) {
    if (peer != communicator.rank()) kinds.insert(communicator.transport_to(peer));
  }
  std::string out;
  for (const auto& kind : kinds) out += (out.empty() ? "" : "+") + kind;
  return out.empty() ? "none" : out;
}

}  // namespace gradwire::cli
