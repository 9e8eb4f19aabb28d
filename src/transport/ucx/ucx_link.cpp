#include "transport/ucx/ucx_link.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/checksum.hpp"

namespace gradwire::transport {
namespace {

/// Frames taken before the peer is told: few enough for a stream to flow on, many enough to be cheap.
constexpr std::uint64_t kCreditStep = 4;
/// For the answer to a goodbye from a peer that has taken all but the last frames.
constexpr std::chrono::milliseconds kGoodbyePatience{250};
/// For the answer to an end from a peer that has ended, too: it is gone if it was answered before it heard.
constexpr std::chrono::milliseconds kEndedPatience{50};
/// After so many moves a worker has seen all that lay there before the first, though others keep it busy.
constexpr std::uint64_t kMovesToSeeAll = 4096;

}  // namespace

UcxLink::UcxLink(UcxParts parts)
    : PeerLink(parts.peer),
      parts_(std::move(parts)),
      outbox_(parts_.worker, peer()),
      inbox_(parts_.worker, peer()),
      shortage_(ErrorCode::system,
                fmt::format("no memory for what goes to rank {} and comes from it", peer()),
                "free memory, then make a new communicator") {
  parts_.worker->attach(peer(), *this);
}

UcxLink::~UcxLink() {
  LinkEnd died;
  died.kind = LinkEnd::Kind::died;
  if (is_connected_) send_end(died);
  shut();
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
  envelope.number = outbox_.accepted();
  envelope.taken = reported_ = inbox_.taken();
  return envelope;
}

void UcxLink::say(const UcxEnvelope& envelope, std::uint32_t flags) {
  const ucs_status_t status = outbox_.say(envelope, flags);
  if (status != UCS_OK && status != UCS_INPROGRESS) on_failure(status);
}

bool UcxLink::try_send(const wire::Header& header, std::span<const std::byte> payload) {
  check_size(payload.size());
  if (peer_end_.kind != LinkEnd::Kind::open) throw peer_end_.to_error(peer());
  if (is_shut_ || !outbox_.has_place()) return false;
  wire::Header sent = header;
  sent.payload_bytes = static_cast<std::uint32_t>(payload.size());
  sent.payload_crc = 0;
  sent.flags = static_cast<std::uint16_t>(sent.flags & ~wire::kFlagPayloadCrc);
  if (parts_.check_payload) {
    sent.flags = static_cast<std::uint16_t>(sent.flags | wire::kFlagPayloadCrc);
    sent.payload_crc = base::crc32c(payload);
  }
  outbox_.push(envelope(UcxKind::frame), sent, payload);
  return true;
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
      if (!outbox_.peer_took(envelope.taken)) refuse("that it took frames which were never sent");
      if (envelope.kind == UcxKind::frame) return inbox_.take(envelope.number, header, data);
      if (envelope.kind == UcxKind::end) take_end(envelope);
    } catch (const Error& error) {
      take_garbage(error);
    }
  } catch (...) {
    take_shortage();
  }
  return UCS_OK;
}

void UcxLink::take_end(const UcxEnvelope& envelope) {
  LinkEnd end = LinkEnd::from_word(envelope.end, parts_.world_size);
  if (end.kind == LinkEnd::Kind::open) refuse("an end that is none");
  if (end.kind == LinkEnd::Kind::goodbye) inbox_.promise(envelope.number);
  peer_end_ = std::move(end);
  owes_answer_ = true;
}

void UcxLink::take_garbage(const Error& error) {
  peer_end_.kind = LinkEnd::Kind::garbage;
  peer_end_.garbage = error;
}

void UcxLink::take_shortage() noexcept {
  peer_end_.kind = LinkEnd::Kind::garbage;
  peer_end_.garbage = shortage_;
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

void UcxLink::look_for_failures() noexcept {
  for (const ucs_status_t status : {outbox_.failure(), inbox_.failure()}) {
    if (status != UCS_OK) on_failure(status);
  }
}

bool UcxLink::is_doomed() const noexcept {
  // A way may fail while it is being made, and be made anew; whoever has been heard of dies once.
  const bool is_met = is_connected_ || (process_ended_ && heard_token_ == token_);
  // Who said goodbye and sent all may go.
  return is_met && failure_ != UCS_OK && !is_shut_ && !peer_end_.is_failure() && !inbox_.has_all();
}

bool UcxLink::look_for_death() noexcept {
  look_for_failures();
  if (!is_doomed()) return false;
  if (failure_ == UCS_ERR_NO_MEMORY) {
    take_shortage();
    return true;
  }
  // What it sent before may still lie here, and say how it ended.
  const UcxWorker& worker = *parts_.worker;
  if (worker.idle_move() <= failure_move_ && worker.moves() - failure_move_ < kMovesToSeeAll) return false;
  peer_end_.kind = LinkEnd::Kind::died;
  try {
    peer_end_.detail = process_ended_ ? "process is gone" : worker.library().status_string(failure_);
  } catch (...) {
    // It died all the same.
  }
  return true;
}

const Frame* UcxLink::front() {
  if (is_shut_) return nullptr;
  try {
    if (const Frame* frame = inbox_.front()) return frame;
  } catch (const Error& error) {
    take_garbage(error);
    throw;
  }
  if (peer_end_.is_failure() || inbox_.is_at_end()) throw peer_end_.to_error(peer());
  return nullptr;
}

void UcxLink::pop() {
  inbox_.pop();
  if (inbox_.taken() - reported_ >= kCreditStep && peer_end_.kind == LinkEnd::Kind::open && !is_shut_) {
    say(envelope(UcxKind::credit));
  }
}

bool UcxLink::advance(Clock::time_point) {
  bool moved = parts_.drives && parts_.worker->advance();
  if (is_shut_) return moved;
  moved = outbox_.count_completed() || moved;
  moved = inbox_.advance() || moved;
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
    // Over TCP a flush awaits the peer's answer. Where ranks are dying, UCX 1.13 may read it after it has
    // given that peer up, and then ends this process.
    if (own_end_ == LinkEnd::Kind::goodbye) flush_ = parts_.worker->flush(peer());
  } catch (...) {
    // Out of memory: the peer has to find out by itself.
  }
}

bool UcxLink::is_flushed() noexcept {
  outbox_.count_completed();
  look_for_failures();
  if (is_shut_ || failure_ != UCS_OK) return true;
  const auto waited = Clock::now() - own_end_at_;
  if (own_end_ != LinkEnd::Kind::goodbye) {
    // A peer that has ended may be gone before it answers; one that has sent garbage is not.
    const bool has_ended = peer_end_.kind == LinkEnd::Kind::abort || peer_end_.kind == LinkEnd::Kind::died;
    return is_heard_ || (has_ended && waited >= kEndedPatience);
  }
  if (outbox_.completed() != outbox_.accepted()) return false;
  const ucs_status_t status = flush_.status();
  if (status != UCS_OK && status != UCS_INPROGRESS) return true;
  // UCX tells when bytes have left this process, not when they have arrived: closing could still lose them.
  const bool has_left = status == UCS_OK;
  // Whoever says goodbye, too, needs nothing more.
  if (has_left && (is_heard_ || peer_end_.kind != LinkEnd::Kind::open)) return true;
  // The peer may compute for long, and over TCP UCX's flush, too, takes its help.
  return outbox_.untaken() < kCreditStep && waited >= kGoodbyePatience;
}

void UcxLink::shut() noexcept {
  if (std::exchange(is_shut_, true)) return;
  flush_ = {};
  outbox_.let_go();
  inbox_.let_go();
  parts_.worker->leave(peer());
  process_.reset();
}

}  // namespace gradwire::transport
