#include "transport/tcp/tcp_link.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/checksum.hpp"

namespace gradwire::transport {

namespace {

constexpr std::size_t kInboxBytes = 256 * 1024;
/// With a rate, what was read counts as carried: not much may wait here.
constexpr std::size_t kRatedInboxBytes = 192 * 1024;
constexpr std::size_t kControlInboxBytes = 4096;

}  // namespace

TcpLink::TcpLink(TcpParts parts)
    : PeerLink(parts.peer),
      rank_(parts.rank),
      communicator_(parts.communicator),
      rate_(std::move(parts.rate)),
      control_(std::move(parts.sockets.back()),
               Inbox(parts.peer, parts.world_size, Inbox::Carries::end, kControlInboxBytes), nullptr) {
  parts.sockets.pop_back();
  connections_.reserve(parts.sockets.size());
  for (auto& socket : parts.sockets) {
    Inbox inbox(parts.peer, parts.world_size, Inbox::Carries::data, rate_ ? kRatedInboxBytes : kInboxBytes);
    connections_.emplace_back(std::move(socket), std::move(inbox), rate_);
  }
}

bool TcpLink::try_send(const wire::Header& header, std::span<const std::byte> payload) {
  check_size(payload.size());
  if (peer_end_.kind != LinkEnd::Kind::open) throw peer_end_.to_error(peer());
  TcpConnection& connection = of_frame(accepted_);
  if (connection.outbox().is_full()) return false;
  const auto now = rate_ ? Clock::now() : Clock::time_point{};
  wire::Header sent = header;
  sent.payload_bytes = static_cast<std::uint32_t>(payload.size());
  sent.flags = static_cast<std::uint16_t>(sent.flags | wire::kFlagPayloadCrc);
  sent.payload_crc = base::crc32c(payload);
  const bool was_idle = connection.outbox().is_empty();
  connection.push(sent, payload);
  ++accepted_;
  if (was_idle && connection.write(now)) count_completed();
  return true;
}

const Frame* TcpLink::front() {
  TcpConnection& connection = of_frame(taken_);
  const Frame* frame = nullptr;
  try {
    frame = connection.inbox().front();
  } catch (const Error& error) {
    peer_end_.kind = LinkEnd::Kind::garbage;
    peer_end_.garbage = error;
    throw;
  }
  if (frame == nullptr && peer_end_.kind != LinkEnd::Kind::open && connection.has_ended()) {
    throw peer_end_.to_error(peer());
  }
  return frame;
}

void TcpLink::pop() { of_frame(taken_++).inbox().pop(); }

std::uint64_t TcpLink::wire_bytes_sent() const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& connection : connections_) bytes += connection.bytes_sent();
  return bytes;
}

bool TcpLink::advance(Clock::time_point now) {
  bool moved = false;
  for (auto& connection : connections_) {
    moved = connection.write(now) || moved;
    moved = connection.read(now) || moved;
  }
  count_completed();
  control_.write(now);
  control_.read(now);
  if (peer_end_.kind == LinkEnd::Kind::open && look_for_end(now)) moved = true;
  return moved;
}

void TcpLink::count_completed() noexcept {
  while (completed_ < accepted_ &&
         of_frame(completed_).outbox().completed() > completed_ / connections_.size()) {
    ++completed_;
  }
}

bool TcpLink::look_for_end(Clock::time_point now) {
  std::size_t goodbyes = 0;
  for (const auto& connection : connections_) {
    if (!connection.has_ended()) continue;
    LinkEnd end = connection.end();
    if (end.kind == LinkEnd::Kind::goodbye) ++goodbyes;
    if (end.is_failure()) peer_end_ = std::move(end);
  }
  if (goodbyes == connections_.size()) peer_end_.kind = LinkEnd::Kind::goodbye;
  if (peer_end_.kind == LinkEnd::Kind::died) {
    // An abort was said before the connections were closed: it is here, though perhaps not read yet.
    control_.expect_input();
    control_.read(now);
  }
  if (control_.has_ended() && peer_end_.kind != LinkEnd::Kind::garbage) {
    if (LinkEnd said = control_.end(); said.is_failure()) peer_end_ = std::move(said);
  }
  return peer_end_.kind != LinkEnd::Kind::open;
}

bool TcpLink::has_news(Clock::time_point now) noexcept {
  return control_.can_move(now) || std::any_of(connections_.begin(), connections_.end(),
                                               [now](auto& each) { return each.can_move(now); });
}

Clock::time_point TcpLink::due(Clock::time_point) const noexcept {
  auto when = Clock::time_point::max();
  for (const auto& connection : connections_) when = std::min(when, connection.due());
  return when;
}

void TcpLink::on_events(std::size_t index, std::uint32_t events) noexcept {
  (index < connections_.size() ? connections_[index] : control_).on_events(events);
}

std::vector<int> TcpLink::descriptors() const {
  std::vector<int> descriptors;
  for (const auto& connection : connections_) descriptors.push_back(connection.fd());
  descriptors.push_back(control_.fd());
  return descriptors;
}

void TcpLink::send_end(const LinkEnd& end) noexcept {
  if (end.kind == LinkEnd::Kind::died) return shut();  // a hang-up says just that
  wire::Header header;
  header.communicator = communicator_;
  header.sender = static_cast<std::uint32_t>(rank_);
  const auto now = Clock::now();
  if (end.kind == LinkEnd::Kind::goodbye) {
    header.kind = wire::FrameKind::goodbye;
    for (auto& connection : connections_) connection.push(header, {});
  } else {
    header.kind = wire::FrameKind::abort;
    header.chunk = static_cast<std::uint32_t>(end.origin);
    header.segment = static_cast<std::uint32_t>(end.code);
    for (auto& connection : connections_) connection.drop_outgoing();
    completed_ = accepted_;
    aborted_ = true;
  }
  control_.push(header, {});
  advance(now);
}

bool TcpLink::is_flushed() noexcept {
  if (aborted_ || !control_.is_flushed()) return control_.is_flushed();
  return std::all_of(connections_.begin(), connections_.end(),
                     [](const auto& each) { return each.is_flushed(); });
}

void TcpLink::shut() noexcept {
  for (auto& connection : connections_) connection.shut();
  control_.shut();
  completed_ = accepted_;
}

}  // namespace gradwire::transport
