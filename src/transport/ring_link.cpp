#include "transport/ring_link.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>

#include "base/checksum.hpp"

namespace gradwire::transport {
namespace {

std::size_t index_of(int rank, int peer) noexcept { return rank < peer ? 0 : 1; }

}  // namespace

RingLink::RingLink(RingParts parts) noexcept
    : PeerLink(parts.peer),
      parts_(std::move(parts)),
      writer_(parts_.memory->pair().rings[index_of(parts_.rank, parts_.peer)],
              parts_.memory->payloads(index_of(parts_.rank, parts_.peer))),
      reader_(parts_.memory->pair().rings[index_of(parts_.peer, parts_.rank)],
              parts_.memory->payloads(index_of(parts_.peer, parts_.rank))),
      own_side_(parts_.memory->pair().sides[index_of(parts_.rank, parts_.peer)]),
      peer_side_(parts_.memory->pair().sides[index_of(parts_.peer, parts_.rank)]) {}

RingLink::~RingLink() {
  LinkEnd died;
  died.kind = LinkEnd::Kind::died;
  send_end(died);
}

bool RingLink::try_send(const wire::Header& header, std::span<const std::byte> payload) {
  check_size(payload.size());
  if (peer_end_.kind != LinkEnd::Kind::open || (reader_.end() != 0 && look_for_end()))
    throw peer_end_.to_error(peer());
  if (!writer_.has_space()) {
    blocked_ = true;
    return false;
  }
  wire::Header sent = header;
  sent.payload_bytes = static_cast<std::uint32_t>(payload.size());
  sent.payload_crc = 0;
  sent.flags = static_cast<std::uint16_t>(sent.flags & ~wire::kFlagPayloadCrc);
  if (parts_.check_payload) {
    sent.flags = static_cast<std::uint16_t>(sent.flags | wire::kFlagPayloadCrc);
    sent.payload_crc = base::crc32c(payload);
  }
  writer_.push(sent, payload);
  bytes_sent_ += wire::kHeaderBytes + payload.size();
  wake_peer_for(kWantsFrames);
  return true;
}

const Frame* RingLink::front() {
  if (!reader_.has(reader_.taken())) {
    if (reader_.end() == 0 && peer_end_.kind == LinkEnd::Kind::open) return nullptr;
    look_for_end();
    // Its last frames may have come between the two looks.
    if (!reader_.has(reader_.taken())) throw peer_end_.to_error(peer());
  }
  if (!front_checked_) {
    // Copied first and checked then: the peer could still write to the original.
    front_.header = reader_.header();
    const std::size_t size = front_.header.payload_bytes;
    if (size > wire::kMaxPayload) fail_front("a payload larger than any may be");
    if (!wire::carries_payload(front_.header.kind)) fail_front("a kind that shared memory does not carry");
    front_.payload = {reader_.payload(), size};
    if ((front_.header.flags & wire::kFlagPayloadCrc) != 0 &&
        base::crc32c(front_.payload) != front_.header.payload_crc) {
      fail_front("a payload that its checksum does not fit");
    }
    front_checked_ = true;
    seen_ = std::max(seen_, reader_.taken() + 1);
  }
  return &front_;
}

void RingLink::pop() {
  front_checked_ = false;
  reader_.pop();
  wake_peer_for(kWantsSpace);
}

void RingLink::fail_front(const char* what) {
  peer_end_.kind = LinkEnd::Kind::garbage;
  peer_end_.garbage = Error(ErrorCode::corrupt_frame,
                            fmt::format("rank {} put a frame into shared memory with {}", peer(), what),
                            "check the memory of this host, then restart the job", peer());
  throw Error(*peer_end_.garbage);
}

bool RingLink::advance(Clock::time_point) {
  bool moved = false;
  seen_ = std::max(seen_, reader_.taken());
  while (seen_ - reader_.taken() < kRingSlots && reader_.has(seen_)) {
    ++seen_;
    moved = true;
  }
  if (blocked_ && writer_.has_space()) {
    blocked_ = false;
    moved = true;
  }
  if (peer_end_.kind == LinkEnd::Kind::open && reader_.end() != 0) moved = look_for_end() || moved;
  return moved;
}

bool RingLink::has_news(Clock::time_point) noexcept {
  const std::uint64_t next = std::max(seen_, reader_.taken());
  return (next - reader_.taken() < kRingSlots && reader_.has(next)) || (blocked_ && writer_.has_space()) ||
         (peer_end_.kind == LinkEnd::Kind::open && reader_.end() != 0);
}

void RingLink::announce_sleep() noexcept {
  const std::uint32_t wishes = kWantsFrames | (blocked_ ? kWantsSpace : 0U);
  own_side_.sleeping.store(wishes, std::memory_order_seq_cst);
}

void RingLink::announce_awake() noexcept { own_side_.sleeping.store(0, std::memory_order_relaxed); }

void RingLink::on_events(std::size_t, std::uint32_t events) noexcept {
  if ((events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) == 0 || peer_end_.kind != LinkEnd::Kind::open) return;
  if (reader_.end() != 0) {
    look_for_end();
  } else {
    peer_end_.kind = LinkEnd::Kind::died;
    peer_end_.detail = "process is gone";
  }
}

std::vector<int> RingLink::descriptors() const {
  if (!parts_.socket) return {};
  return {parts_.socket.get()};
}

void RingLink::send_end(const LinkEnd& end) noexcept {
  writer_.end(end.to_word());
  wake_peer_for(kWantsFrames);
}

void RingLink::wake_peer_for(std::uint32_t wish) const noexcept {
  if ((peer_side_.sleeping.load(std::memory_order_seq_cst) & wish) == 0) return;
  // Whoever clears the wishes rings; a burst of frames rings once.
  if (peer_side_.sleeping.exchange(0, std::memory_order_seq_cst) != 0) parts_.peer_bell->ring();
}

bool RingLink::look_for_end() noexcept {
  if (peer_end_.kind == LinkEnd::Kind::open) peer_end_ = LinkEnd::from_word(reader_.end(), parts_.world_size);
  return peer_end_.kind != LinkEnd::Kind::open;
}

}  // namespace gradwire::transport
