#include "wire/header.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/checksum.hpp"
#include "gradwire/error.hpp"

namespace gradwire::wire {
namespace {

constexpr std::size_t kCrcOffset = kHeaderBytes - 4;
constexpr std::size_t kReservedBytes = 8;
constexpr std::uint8_t kMaxDtype = 2;
constexpr std::uint16_t kKnownFlags = kFlagNonFinite | kFlagPayloadCrc;

[[noreturn]] void refuse(int peer, std::string_view what) {
  throw Error(ErrorCode::corrupt_frame, fmt::format("rank {} sent a frame header with {}", peer, what),
              "check the network and the memory of both hosts, then restart the job", peer);
}

bool known_kind(std::uint8_t kind) noexcept {
  return kind >= static_cast<std::uint8_t>(FrameKind::data) &&
         kind <= static_cast<std::uint8_t>(FrameKind::message);
}

}  // namespace

void write_header(const Header& header, std::span<std::byte, kHeaderBytes> out) noexcept {
  base::ByteWriter writer(out);
  writer.write(kMagic);
  writer.write(kVersion);
  writer.write(static_cast<std::uint8_t>(header.kind));
  writer.write(header.codec);
  writer.write(header.dtype);
  writer.write(header.flags);
  writer.write(header.layer);
  writer.write(header.communicator);
  writer.write(header.order_hash);
  writer.write(header.operation);
  writer.write(header.chunk);
  writer.write(header.segment);
  writer.write(header.sender);
  writer.write(header.count);
  writer.write(header.payload_bytes);
  writer.write(header.payload_crc);
  writer.write(std::uint64_t{0});
  writer.write(base::crc32c(out.first(kCrcOffset)));
}

Header read_header(std::span<const std::byte, kHeaderBytes> bytes, int peer) {
  base::ByteReader reader(bytes);
  if (reader.read<std::uint32_t>() != kMagic) refuse(peer, "a wrong magic");
  // Magic, version and checksum keep their places in every version, so that damage is never taken for a
  // version.
  base::ByteReader tail(bytes.subspan(kCrcOffset));
  if (tail.read<std::uint32_t>() != base::crc32c(bytes.first(kCrcOffset))) refuse(peer, "a wrong checksum");
  const auto version = reader.read<std::uint8_t>();
  if (version != kVersion) {
    throw Error(ErrorCode::version_mismatch,
                fmt::format("rank {} sends frames of version {}, this rank reads version {}", peer, version,
                            kVersion),
                "install the same gradwire on all hosts", peer);
  }
  const auto kind = reader.read<std::uint8_t>();
  if (!known_kind(kind)) refuse(peer, fmt::format("the unknown kind {}", kind));

  Header header;
  header.kind = static_cast<FrameKind>(kind);
  header.codec = reader.read<std::uint8_t>();
  header.dtype = reader.read<std::uint8_t>();
  header.flags = reader.read<std::uint16_t>();
  header.layer = reader.read<std::uint16_t>();
  header.communicator = reader.read<std::uint32_t>();
  header.order_hash = reader.read<std::uint64_t>();
  header.operation = reader.read<std::uint32_t>();
  header.chunk = reader.read<std::uint32_t>();
  header.segment = reader.read<std::uint32_t>();
  header.sender = reader.read<std::uint32_t>();
  header.count = reader.read<std::uint32_t>();
  header.payload_bytes = reader.read<std::uint32_t>();
  header.payload_crc = reader.read<std::uint32_t>();

  if (header.dtype > kMaxDtype) refuse(peer, fmt::format("the unknown element type {}", header.dtype));
  if ((header.flags & ~kKnownFlags) != 0) refuse(peer, fmt::format("unknown flags {:#x}", header.flags));
  if (header.payload_bytes > kMaxPayload) {
    refuse(peer,
           fmt::format("a payload of {} bytes, where {} are the most", header.payload_bytes, kMaxPayload));
  }
  if (!carries_payload(header.kind) && header.payload_bytes != 0) refuse(peer, "a payload where none may be");
  if ((header.flags & kFlagPayloadCrc) == 0 && header.payload_crc != 0)
    refuse(peer, "an unannounced payload CRC");
  const auto reserved = reader.bytes(kReservedBytes);
  if (std::any_of(reserved.begin(), reserved.end(), [](std::byte b) { return b != std::byte{0}; })) {
    refuse(peer, "reserved bytes in use");
  }
  return header;
}

}  // namespace gradwire::wire
