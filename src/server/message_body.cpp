#include "server/message_body.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "gradwire/error.hpp"

namespace gradwire::server {
namespace {

/// What 32 bits of a header hold of a number.
std::uint32_t low_bits(std::uint64_t number) noexcept { return static_cast<std::uint32_t>(number); }

}  // namespace

wire::Header head_header(std::uint64_t number, Side sender) noexcept {
  wire::Header header;
  header.kind = wire::FrameKind::message;
  header.operation = low_bits(number);
  header.sender = static_cast<std::uint32_t>(sender);
  return header;
}

BodyFrames::BodyFrames(const Body& body, std::uint64_t number, Side sender) {
  if (body.count == 0 || body.payloads == 0) return;
  codec_ = body.codec;
  count_ = body.count;
  payloads_ = body.payloads;
  const std::size_t block = codec_->block();
  most_ = wire::kMaxPayload / codec_->max_payload(block) * block;
  if (!codec_->fixed_size() || most_ == 0) {
    throw Error(ErrorCode::unsupported,
                fmt::format("payloads of {} cannot be cut into frames at blocks", codec_->spec()),
                "choose another codec");
  }
  header_.codec = static_cast<std::uint8_t>(codec_->id());
  header_.operation = low_bits(number);
  header_.chunk = body.shard;
  header_.sender = static_cast<std::uint32_t>(sender);
  set_count();
}

void BodyFrames::next() noexcept {
  offset_ += bytes();
  first_ += header_.count;
  if (first_ == count_) {
    ++payload_;
    first_ = 0;
    offset_ = 0;
  }
  ++header_.segment;
  set_count();
}

void BodyFrames::set_count() noexcept {
  header_.count = static_cast<std::uint32_t>(std::min(most_, count_ - first_));
}

}  // namespace gradwire::server
