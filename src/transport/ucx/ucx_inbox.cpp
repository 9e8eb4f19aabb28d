#include "transport/ucx/ucx_inbox.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/checksum.hpp"

namespace gradwire::transport {

UcxInbox::UcxInbox(std::shared_ptr<UcxWorker> worker, int peer) : worker_(std::move(worker)), peer_(peer) {}

UcxInbox::~UcxInbox() {
  let_go();
  worker_->keep(std::move(memory_));
}

ucs_status_t UcxInbox::take(std::uint64_t number, std::span<const std::byte> header, const UcxData& data) {
  Arrival& arrival = memory_->arrivals[number % kUcxWindow];
  if (number < taken_ || number - taken_ >= kUcxWindow || (promised_ && number >= *promised_) ||
      arrival.state != Arrival::State::none) {
    refuse(fmt::format("frame {} out of turn, after {}", number, taken_));
  }
  arrival.frame.header = wire::read_header(header.first<wire::kHeaderBytes>(), peer_);
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
  const std::span place(memory_->places.get() + number % kUcxWindow * wire::kMaxPayload, data.bytes);
  arrival.frame.payload = place;
  arrival.state = Arrival::State::coming;
  arrival.request = worker_->receive(data, place);
  return arrival.request.is_under_way() ? UCS_INPROGRESS : UCS_OK;
}

void UcxInbox::promise(std::uint64_t frames) {
  if (frames < arrived_) refuse("a goodbye before its last frame");
  promised_ = frames;
}

void UcxInbox::refuse(const std::string& what) const {
  throw Error(ErrorCode::corrupt_frame, fmt::format("rank {} sent {}", peer_, what),
              "install the same gradwire on all hosts, then restart the job", peer_);
}

bool UcxInbox::advance() noexcept {
  Arrival& arrival = next();
  if (arrival.state != Arrival::State::coming) return false;
  const ucs_status_t status = arrival.request.status();
  if (status == UCS_INPROGRESS) return false;
  if (status == UCS_OK) {
    arrival.state = Arrival::State::there;
    return true;
  }
  promised_.reset();  // this one will never be complete
  return std::exchange(failure_, status) == UCS_OK;
}

const Frame* UcxInbox::front() {
  advance();
  Arrival& arrival = next();
  if (arrival.state != Arrival::State::there) return nullptr;
  if (!front_checked_) check(arrival.frame);
  front_checked_ = true;
  return &arrival.frame;
}

void UcxInbox::check(const Frame& frame) const {
  const bool has_crc = (frame.header.flags & wire::kFlagPayloadCrc) != 0;
  if (!has_crc || base::crc32c(frame.payload) == frame.header.payload_crc) return;
  throw Error(ErrorCode::corrupt_frame,
              fmt::format("rank {} sent a payload of {} bytes that its checksum does not fit", peer_,
                          frame.payload.size()),
              "check the network and the memory of both hosts, then restart the job", peer_);
}

void UcxInbox::pop() {
  release(next());
  next().state = Arrival::State::none;
  front_checked_ = false;
  ++taken_;
}

void UcxInbox::let_go() noexcept {
  for (Arrival& arrival : memory_->arrivals) {
    arrival.request = {};
    release(arrival);
  }
}

void UcxInbox::release(Arrival& arrival) noexcept {
  if (arrival.held != nullptr) worker_->release(std::exchange(arrival.held, nullptr));
}

}  // namespace gradwire::transport
