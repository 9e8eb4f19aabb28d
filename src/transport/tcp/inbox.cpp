#include "transport/tcp/inbox.hpp"

#include <fmt/format.h>

#include "base/checksum.hpp"

namespace gradwire::transport {

using wire::kHeaderBytes;

Inbox::Inbox(int peer, int world_size, Carries carries, std::size_t capacity)
    : peer_(peer), world_size_(world_size), carries_(carries), buffer_(capacity) {}

bool Inbox::filled(std::size_t size) {
  buffer_.filled(size);
  bool complete = false;
  while (end_.kind == LinkEnd::Kind::open && buffer_.data().size() - scanned_ >= scan_need_) {
    if (scan_in_payload_) {
      scanned_ += scan_need_;
      scan_need_ = kHeaderBytes;
      scan_in_payload_ = false;
      complete = true;
      continue;
    }
    try {
      scan(wire::read_header(buffer_.data().subspan(scanned_).first<kHeaderBytes>(), peer_));
    } catch (const Error& error) {
      end_.kind = LinkEnd::Kind::garbage;
      end_.garbage = error;
    }
  }
  return complete || end_.kind != LinkEnd::Kind::open;
}

void Inbox::scan(const wire::Header& header) {
  const auto refuse = [this](std::string_view what) {
    throw Error(ErrorCode::corrupt_frame, fmt::format("rank {} sent {}", peer_, what),
                "install the same gradwire on all hosts, then restart the job", peer_);
  };
  if (wire::carries_payload(header.kind) && carries_ == Carries::end) {
    refuse("data on the connection that is kept for the end");
  }
  if (header.kind == wire::FrameKind::abort) {
    if (carries_ == Carries::data) refuse("an abort on a connection for data");
    if (header.chunk >= static_cast<std::uint32_t>(world_size_)) {
      refuse(fmt::format("an abort that blames rank {} of {}", header.chunk, world_size_));
    }
  }
  switch (header.kind) {
    case wire::FrameKind::data:
    case wire::FrameKind::message:
      scan_need_ = kHeaderBytes + header.payload_bytes;
      scan_in_payload_ = true;
      return;
    case wire::FrameKind::goodbye: end_.kind = LinkEnd::Kind::goodbye; return;
    case wire::FrameKind::abort:
      end_.kind = LinkEnd::Kind::abort;
      end_.origin = static_cast<int>(header.chunk);
      end_.code = to_error_code(header.segment).value_or(ErrorCode::peer_lost);
      return;
  }
}

const Frame* Inbox::front() {
  if (has_front_) return &front_;
  if (scanned_ == 0) return nullptr;
  const auto data = buffer_.data();
  front_.header = wire::read_header(data.first<kHeaderBytes>(), peer_);
  front_.payload = data.subspan(kHeaderBytes, front_.header.payload_bytes);
  const bool checked = (front_.header.flags & wire::kFlagPayloadCrc) != 0;
  if (!checked || base::crc32c(front_.payload) != front_.header.payload_crc) {
    throw Error(ErrorCode::corrupt_frame,
                fmt::format("rank {} sent a payload of {} bytes {}", peer_, front_.payload.size(),
                            checked ? "that its checksum does not fit" : "without a checksum"),
                "check the network and the memory of both hosts, then restart the job", peer_);
  }
  has_front_ = true;
  return &front_;
}

void Inbox::pop() noexcept {
  const std::size_t size = kHeaderBytes + front_.payload.size();
  buffer_.consumed(size);
  scanned_ -= size;
  has_front_ = false;
}

}  // namespace gradwire::transport
