#include "transport/peer_link.hpp"

#include <fmt/format.h>

namespace gradwire::transport {

void PeerLink::check_size(std::size_t payload_bytes) const {
  if (payload_bytes <= wire::kMaxPayload) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("a frame of {} bytes for rank {}, {} are the most", payload_bytes, peer_,
                          wire::kMaxPayload),
              "split it into segments");
}

}  // namespace gradwire::transport
