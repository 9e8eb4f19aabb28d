#include "transport/meeting.hpp"

#include <utility>

#include "transport/ring_link.hpp"
#include "transport/tcp/tcp_link.hpp"
#include "transport/tcp/tcp_socket.hpp"

namespace gradwire::transport {

std::unique_ptr<PeerLink> make_link(Meeting meeting, const LinkIdentity& identity, double link_rate,
                                    std::shared_ptr<LinkRate> rate, bool check_payload) {
  if (!meeting.shm) {
    for (const auto& socket : meeting.sockets) tune_tcp(socket, link_rate);
    return std::make_unique<TcpLink>(TcpParts{identity.rank, identity.peer, identity.world_size,
                                              identity.communicator, std::move(meeting.sockets),
                                              std::move(rate)});
  }
  RingParts parts;
  parts.rank = identity.rank;
  parts.peer = identity.peer;
  parts.world_size = identity.world_size;
  parts.memory = std::move(meeting.memory);
  parts.peer_bell = std::move(meeting.bell);
  parts.socket = std::move(meeting.sockets.front());
  parts.check_payload = check_payload;
  return std::make_unique<RingLink>(std::move(parts));
}

}  // namespace gradwire::transport
