#include "transport/ucx/ucx_link.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/checksum.hpp"
#include "transport/sleep_times.hpp"

namespace gradwire::transport {
namespace {

/// Frames taken before the peer is told: few enough for a stream to flow on, many enough to be cheap.
constexpr std::uint64_t kCreditStep = 4;
/// For a last word from a link that is dropped without one.
constexpr std::chrono::milliseconds kLastWordPatience{100};
/// For the answer to a goodbye from a peer that has taken all but the last frames.
constexpr std::chrono::milliseconds kGoodbyePatience{250};
/// After so many moves a worker has seen all that lay there before the first, though others keep it busy.
constexpr std::uint64_t kMovesToSeeAll = 4096;

}  // namespace

UcxLink::UcxLink(UcxParts parts) : PeerLink(parts.peer), parts_(std::move(parts)) {
  parts_.worker->attach(peer(), *this);
}

UcxLink::~UcxLink() {
  if (!is_shut_ && is_connected_ && own_end_ == LinkEnd::Kind::open) {
    LinkEnd died;
    died.kind = LinkEnd::Kind::died;
    send_end(died);
    const auto deadline = Clock::now() + kLastWordPatience;
    while (!is_flushed() && Clock::now() < deadline) parts_.worker->advance();
  }
  shut();
  try {
    parts_.worker->keep(std::shared_ptr<Memory>(std::move(memory_)));
  } catch (...) {
    // Out of memory: rather lose some than free what UCX may still write to.
    static_cast<void>(memory_.release());
  }
}

void UcxLink::open(std::uint64_t token, const std::string& address, base::UniqueFd process) {
  token_ = token;
  peer_end_ = {};
  process_ = std::move(process);
  process_ended_ = false;
  failure_ = parts_.worker->open(peer(), address);
  if (failure_ != UCS_OK) return;
  // UCX completes a way when a message needs it complete, and then needs the peer's help: a peer that makes
  // no progress just then would stop what was sent from leaving. So that is asked for now.
  say(envelope(UcxKind::hello), UCP_AM_SEND_FLAG_REPLY);
  flush_ = parts_.worker->flush(peer());
}

bool UcxLink::is_connected() noexcept {
  if (is_connected_ || failure_ != UCS_OK || heard_token_ != token_) return is_connected_;
  const ucs_status_t status = flush_.status();
  if (status != UCS_OK && status != UCS_INPROGRESS) on_failure(status);
  is_connected_ = status == UCS_OK;
  return is_connected_;
}

UcxEnvelope UcxLink::envelope(UcxKind kind) noexcept {
  UcxEnvelope envelope;
  envelope.kind = kind;
  envelope.sender = static_cast<std::uint32_t>(parts_.rank);
  envelope.sender_token = parts_.worker->token();
  envelope.receiver_token = token_;
  envelope.number = accepted_;
  envelope.taken = reported_ = taken_;
  return envelope;
}

void UcxLink::say(const UcxEnvelope& envelope, std::uint32_t flags) {
  Note& note = free_note();
  write_envelope(envelope, note.bytes);
  note.request = parts_.worker->send(peer(), note.bytes, {}, flags);
}

UcxLink::Note& UcxLink::free_note() {
  for (Note& note : memory_->notes) {
    if (!note.request.is_under_way()) return note;
  }
  return memory_->notes.emplace_back();
}

bool UcxLink::try_send(const wire::Header& header, std::span<const std::byte> payload) {
  check_size(payload.size());
  if (peer_end_.kind != LinkEnd::Kind::open) throw peer_end_.to_error(peer());
  if (is_shut_ || accepted_ - taken_by_peer_ == kWindow) return false;
  if (accepted_ - completed_ == kWindow && !count_completed()) return false;
  wire::Header sent = header;
  sent.payload_bytes = static_cast<std::uint32_t>(payload.size());
  sent.payload_crc = 0;
  sent.flags = static_cast<std::uint16_t>(sent.flags & ~wire::kFlagPayloadCrc);
  if (parts_.check_payload) {
    sent.flags = static_cast<std::uint16_t>(sent.flags | wire::kFlagPayloadCrc);
    sent.payload_crc = base::crc32c(payload);
  }
  Departure& departure = memory_->departures[accepted_ % kWindow];
  const std::span head(departure.head);
  write_envelope(envelope(UcxKind::frame), head.first<kEnvelopeBytes>());
  wire::write_header(sent, head.last<wire::kHeaderBytes>());
  departure.request = parts_.worker->send(peer(), head, payload);
  ++accepted_;
  bytes_sent_ += wire::kHeaderBytes + payload.size();
  count_completed();
  return true;
}

bool UcxLink::count_completed() noexcept {
  const std::uint64_t before = completed_;
  while (completed_ < accepted_) {
    const ucs_status_t status = memory_->departures[completed_ % kWindow].request.status();
    if (status == UCS_INPROGRESS) break;
    if (status != UCS_OK) on_failure(status);
    ++completed_;
  }
  return completed_ != before;
}

ucs_status_t UcxLink::on_message(const UcxEnvelope& envelope, std::span<const std::byte> header,
                                 const UcxData& data) noexcept {
  heard_token_ = envelope.sender_token;
  if (heard_token_ != token_) return UCS_OK;
  // Two that blame somebody at the same time answer each other.
  if (envelope.kind == UcxKind::heard) is_heard_ = true;
  if (peer_end_.is_failure()) return UCS_OK;
  try {
    try {
      if (envelope.taken > accepted_) refuse("that it took frames which were never sent");
      taken_by_peer_ = std::max(taken_by_peer_, envelope.taken);
      if (envelope.kind == UcxKind::frame) return take_frame(envelope.number, header, data);
      if (envelope.kind == UcxKind::end) take_end(envelope);
    } catch (const Error& error) {
      take_garbage(error);
    }
  } catch (...) {
    on_failure(UCS_ERR_NO_MEMORY);
  }
  return UCS_OK;
}

ucs_status_t UcxLink::take_frame(std::uint64_t number, std::span<const std::byte> header,
                                 const UcxData& data) {
  Arrival& arrival = memory_->arrivals[number % kWindow];
  if (number < taken_ || number - taken_ >= kWindow || number >= promised_ ||
      arrival.state != Arrival::State::none) {
    refuse(fmt::format("frame {} out of turn, after {}", number, taken_));
  }
  arrival.frame.header = wire::read_header(header.first<wire::kHeaderBytes>(), peer());
  if (!wire::carries_payload(arrival.frame.header.kind)) refuse("a kind of frame that UCX does not carry");
  if (arrival.frame.header.payload_bytes != data.bytes) {
    refuse(fmt::format("{} bytes behind a header that announces {}", data.bytes,
                       arrival.frame.header.payload_bytes));
  }
  ++arrived_;
  arrival.frame.payload = {};
  arrival.state = Arrival::State::there;
  if (data.bytes == 0) return UCS_OK;
  if (!data.is_rendezvous) {
    arrival.held = data.place;
    arrival.frame.payload = {static_cast<const std::byte*>(data.place), data.bytes};
    return UCS_INPROGRESS;
  }
  const std::span place(memory_->places.get() + number % kWindow * wire::kMaxPayload, data.bytes);
  arrival.frame.payload = place;
  arrival.state = Arrival::State::coming;
  arrival.request = parts_.worker->receive(data, place);
  return arrival.request.is_under_way() ? UCS_INPROGRESS : UCS_OK;
}

void UcxLink::take_end(const UcxEnvelope& envelope) {
  LinkEnd end = LinkEnd::from_word(envelope.end, parts_.world_size);
  if (end.kind == LinkEnd::Kind::open) refuse("an end that is none");
  if (end.kind == LinkEnd::Kind::goodbye) {
    if (envelope.number < arrived_) refuse("a goodbye before its last frame");
    promised_ = envelope.number;
  }
  peer_end_ = std::move(end);
  owes_answer_ = true;
}

void UcxLink::take_garbage(const Error& error) {
  peer_end_.kind = LinkEnd::Kind::garbage;
  peer_end_.garbage = error;
}

void UcxLink::refuse(const std::string& what) const {
  throw Error(ErrorCode::corrupt_frame, fmt::format("rank {} sent {}", peer(), what),
              "install the same gradwire on all hosts, then restart the job", peer());
}

void UcxLink::on_failure(ucs_status_t status) noexcept {
  if (failure_ != UCS_OK) return;
  failure_ = status;
  failure_move_ = parts_.worker->moves();
}

bool UcxLink::is_doomed() const noexcept {
  // A way may fail while it is being made, and be made anew; whoever has been heard of dies once.
  const bool is_met = is_connected_ || (process_ended_ && heard_token_ == token_);
  // Who said goodbye and sent all may go.
  return is_met && failure_ != UCS_OK && !is_shut_ && !peer_end_.is_failure() && arrived_ != promised_;
}

bool UcxLink::look_for_death() noexcept {
  if (!is_doomed()) return false;
  // What it sent before may still lie here, and say how it ended.
  const UcxWorker& worker = *parts_.worker;
  if (worker.idle_move() <= failure_move_ && worker.moves() - failure_move_ < kMovesToSeeAll) return false;
  peer_end_.kind = LinkEnd::Kind::died;
  try {
    peer_end_.detail = process_ended_ ? "process is gone" : parts_.worker->library().status_string(failure_);
  } catch (...) {
    // It died all the same.
  }
  return true;
}

bool UcxLink::is_there(Arrival& arrival) noexcept {
  if (arrival.state == Arrival::State::coming) {
    const ucs_status_t status = arrival.request.status();
    if (status == UCS_OK) arrival.state = Arrival::State::there;
    if (status != UCS_OK && status != UCS_INPROGRESS) {
      promised_ = ~std::uint64_t{0};  // this one will never be complete
      on_failure(status);
      look_for_death();
    }
  }
  return arrival.state == Arrival::State::there;
}

const Frame* UcxLink::front() {
  if (is_shut_) return nullptr;
  Arrival& arrival = memory_->arrivals[taken_ % kWindow];
  if (!is_there(arrival)) {
    if (peer_end_.is_failure() || taken_ == promised_) throw peer_end_.to_error(peer());
    return nullptr;
  }
  if (!std::exchange(front_checked_, true)) check(arrival.frame);
  return &arrival.frame;
}

void UcxLink::check(const Frame& frame) {
  const bool has_crc = (frame.header.flags & wire::kFlagPayloadCrc) != 0;
  if (!has_crc || base::crc32c(frame.payload) == frame.header.payload_crc) return;
  front_checked_ = false;
  take_garbage({ErrorCode::corrupt_frame,
                fmt::format("rank {} sent a payload of {} bytes that its checksum does not fit", peer(),
                            frame.payload.size()),
                "check the network and the memory of both hosts, then restart the job", peer()});
  throw Error(*peer_end_.garbage);
}

void UcxLink::pop() {
  front_checked_ = false;
  Arrival& arrival = memory_->arrivals[taken_ % kWindow];
  if (arrival.held != nullptr) parts_.worker->release(std::exchange(arrival.held, nullptr));
  arrival.state = Arrival::State::none;
  ++taken_;
  if (taken_ - reported_ >= kCreditStep && peer_end_.kind == LinkEnd::Kind::open && !is_shut_) {
    say(envelope(UcxKind::credit));
  }
}

bool UcxLink::advance(Clock::time_point) {
  bool moved = parts_.drives && parts_.worker->advance();
  if (is_shut_) return moved;
  moved = count_completed() || moved;
  Arrival& next = memory_->arrivals[taken_ % kWindow];
  if (next.state == Arrival::State::coming) moved = is_there(next) || moved;
  moved = look_for_death() || moved;
  if (std::exchange(owes_answer_, false)) say(envelope(UcxKind::heard));
  return moved;
}

bool UcxLink::has_news(Clock::time_point) noexcept {
  return is_doomed() || (parts_.drives && parts_.worker->has_news());
}

void UcxLink::announce_sleep() noexcept {
  if (parts_.drives) parts_.worker->arm();
}

void UcxLink::announce_awake() noexcept {
  if (parts_.drives) parts_.worker->disarm();
}

std::vector<int> UcxLink::descriptors() const {
  std::vector<int> descriptors;
  if (process_) descriptors.push_back(process_.get());
  if (parts_.drives) descriptors.push_back(parts_.worker->descriptor());
  return descriptors;
}

void UcxLink::on_events(std::size_t index, std::uint32_t) noexcept {
  if (!process_ || index != 0) return;
  process_.reset();
  process_ended_ = true;
  on_failure(UCS_ERR_ENDPOINT_TIMEOUT);
}

void UcxLink::send_end(const LinkEnd& end) noexcept {
  if (is_shut_ || own_end_ != LinkEnd::Kind::open) return;
  own_end_ = end.kind;
  own_end_at_ = Clock::now();
  try {
    UcxEnvelope last = envelope(UcxKind::end);
    last.end = end.to_word();
    say(last);
    flush_ = parts_.worker->flush(peer());
  } catch (...) {
    // Out of memory: the peer has to find out by itself.
  }
}

bool UcxLink::is_flushed() noexcept {
  if (is_shut_ || failure_ != UCS_OK) return true;
  count_completed();
  if (own_end_ == LinkEnd::Kind::goodbye && completed_ != accepted_) return false;
  const ucs_status_t status = flush_.status();
  if (status != UCS_OK && status != UCS_INPROGRESS) return true;
  // UCX tells when bytes have left this process, not when they have arrived: closing could still lose them.
  const bool has_left = status == UCS_OK;
  if (own_end_ != LinkEnd::Kind::goodbye) return has_left && is_heard_;
  // Whoever says goodbye, too, needs nothing more.
  if (has_left && (is_heard_ || peer_end_.kind != LinkEnd::Kind::open)) return true;
  // The peer may compute for long, and over TCP UCX's flush, too, takes its help.
  return accepted_ - taken_by_peer_ < kCreditStep && Clock::now() - own_end_at_ >= kGoodbyePatience;
}

void UcxLink::shut() noexcept {
  if (std::exchange(is_shut_, true)) return;
  flush_ = {};
  for (Departure& departure : memory_->departures) departure.request = {};
  for (Note& note : memory_->notes) note.request = {};
  for (Arrival& arrival : memory_->arrivals) {
    arrival.request = {};
    if (arrival.held != nullptr) parts_.worker->release(std::exchange(arrival.held, nullptr));
  }
  parts_.worker->leave(peer());
  completed_ = accepted_;
  process_.reset();
}

}  // namespace gradwire::transport
