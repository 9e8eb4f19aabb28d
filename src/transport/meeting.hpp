#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/unique_fd.hpp"
#include "transport/doorbell.hpp"
#include "transport/pair_memory.hpp"
#include "transport/peer_link.hpp"
#include "transport/tcp/token_bucket.hpp"

namespace gradwire::transport {

/// Each pair has one connection beside those for data: see TcpLink.
inline constexpr int kControlConnections = 1;

/// What came together for one peer so far.
struct Meeting {
  std::vector<base::UniqueFd> sockets;  ///< by connection
  std::shared_ptr<const PairMemory> memory;
  std::shared_ptr<const Doorbell> bell;
  bool shm = false;
  int missing = 1;  ///< connections
};

/// What a link is besides what came together for it.
struct LinkIdentity {
  int rank = 0;
  int peer = 0;
  int world_size = 0;
  std::uint32_t communicator = 0;
};

/// The link that a finished meeting leads to. `rate` may be null. Throws Error(system).
[[nodiscard]] std::unique_ptr<PeerLink> make_link(Meeting meeting, const LinkIdentity& identity,
                                                  double link_rate, std::shared_ptr<LinkRate> rate,
                                                  bool check_payload);

}  // namespace gradwire::transport
