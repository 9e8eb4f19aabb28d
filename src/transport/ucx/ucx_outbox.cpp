#include "transport/ucx/ucx_outbox.hpp"

#include <algorithm>
#include <utility>

namespace gradwire::transport {

UcxOutbox::UcxOutbox(std::shared_ptr<UcxWorker> worker, int peer) : worker_(std::move(worker)), peer_(peer) {}

UcxOutbox::~UcxOutbox() {
  let_go();
  worker_->keep(std::move(memory_));
}

bool UcxOutbox::has_place() noexcept {
  if (untaken() == kUcxWindow) return false;
  return accepted_ - completed_ < kUcxWindow || count_completed();
}

void UcxOutbox::push(const UcxEnvelope& envelope, const wire::Header& header,
                     std::span<const std::byte> payload) {
  Departure& departure = memory_->departures[accepted_ % kUcxWindow];
  const std::span head(departure.head);
  write_envelope(envelope, head.first<kEnvelopeBytes>());
  wire::write_header(header, head.last<wire::kHeaderBytes>());
  departure.request = worker_->send(peer_, head, payload);
  ++accepted_;
  bytes_sent_ += wire::kHeaderBytes + payload.size();
  count_completed();
}

ucs_status_t UcxOutbox::say(const UcxEnvelope& envelope, std::uint32_t flags) {
  Note& note = free_note();
  write_envelope(envelope, note.bytes);
  note.request = worker_->send(peer_, note.bytes, {}, flags);
  return note.request.status();
}

UcxOutbox::Note& UcxOutbox::free_note() {
  for (Note& note : memory_->notes) {
    if (!note.request.is_under_way()) return note;
  }
  return memory_->notes.emplace_back();
}

bool UcxOutbox::count_completed() noexcept {
  const std::uint64_t before = completed_;
  while (completed_ < accepted_) {
    const ucs_status_t status = memory_->departures[completed_ % kUcxWindow].request.status();
    if (status == UCS_INPROGRESS) break;
    if (failure_ == UCS_OK) failure_ = status;
    ++completed_;
  }
  return completed_ != before;
}

bool UcxOutbox::peer_took(std::uint64_t frames) noexcept {
  taken_ = std::max(taken_, std::min(frames, accepted_));
  return frames <= accepted_;
}

void UcxOutbox::let_go() noexcept {
  for (Departure& departure : memory_->departures) departure.request = {};
  for (Note& note : memory_->notes) note.request = {};
  completed_ = accepted_;
}

}  // namespace gradwire::transport
