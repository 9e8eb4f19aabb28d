#include "server/incoming_messages.hpp"

#include <fmt/format.h>

#include <cstring>

#include "gradwire/error.hpp"

namespace gradwire::server {
namespace {

std::string describe(const wire::Header& header) {
  if (header.kind == wire::FrameKind::message) return fmt::format("message {}", header.operation);
  return fmt::format("segment {} of message {} (shard {}, {} elements, codec {}, sender {})", header.segment,
                     header.operation, header.chunk, header.count, header.codec, header.sender);
}

}  // namespace

template <typename Message>
std::optional<Message> IncomingMessages::take_head(transport::Link& link,
                                                   Message (*read)(std::span<const std::byte>,
                                                                   std::string_view)) {
  const transport::Frame* const frame = link.front();
  if (frame == nullptr) return std::nullopt;
  if (frame->header.kind != wire::FrameKind::message)
    reject(from_ + " sent " + describe(frame->header) + " where a message was due");
  Message message = read(frame->payload, from_);
  number_ = number_of(message);
  check(*frame, head_header(number_, sender_));
  link.pop();
  return message;
}

std::optional<Request> IncomingMessages::take_request(transport::Link& link) {
  return take_head(link, read_request);
}

std::optional<Answer> IncomingMessages::take_answer(transport::Link& link) {
  return take_head(link, read_answer);
}

std::optional<IncomingMessages::Part> IncomingMessages::front(transport::Link& link) {
  const transport::Frame* const frame = link.front();
  if (frame == nullptr) return std::nullopt;
  check(*frame, frames_.header());
  const std::size_t count = frames_.header().count;
  if (!frames_.codec().valid(frame->payload, count)) {
    reject(fmt::format("{} sent {} bytes that {} never writes for {} elements", from_, frame->payload.size(),
                       frames_.codec().spec(), count));
  }
  return Part{frames_.payload(), frames_.first(), count, frames_.offset(), frame->payload};
}

void IncomingMessages::pop(transport::Link& link) {
  link.pop();
  frames_.next();
}

bool IncomingMessages::take_into(transport::Link& link, std::span<std::byte> destination) {
  while (!is_whole()) {
    const auto part = front(link);
    if (!part) return false;
    const std::size_t at = part->payload * frames_.payload_bytes() + part->offset;
    std::memcpy(destination.subspan(at, part->bytes.size()).data(), part->bytes.data(), part->bytes.size());
    pop(link);
  }
  return true;
}

void IncomingMessages::check(const transport::Frame& frame, const wire::Header& due) const {
  wire::Header seen = frame.header;
  // What the link sets, and has checked.
  seen.payload_bytes = 0;
  seen.payload_crc = 0;
  seen.flags = static_cast<std::uint16_t>(seen.flags & ~wire::kFlagPayloadCrc);
  if (seen == due) return;
  reject(from_ + " sent " + describe(frame.header) + " where " + describe(due) + " was due");
}

}  // namespace gradwire::server
