#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace gradwire::wire {

inline constexpr std::uint32_t kMagic = 0x31465747;  // "GWF1" in memory
inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::size_t kHeaderBytes = 64;
/// No frame carries more; the transports size their buffers by it.
inline constexpr std::size_t kMaxPayload = 64 * 1024;

enum class FrameKind : std::uint8_t {
  data = 1,     ///< an encoded segment
  abort = 2,    ///< the sender's communicator failed: `chunk` is the rank it blames, `segment` the ErrorCode
  goodbye = 3,  ///< the sender closed its communicator on purpose; nothing follows
  message = 4,  ///< a request to a parameter server, or its answer; data frames may follow that belong to it
};

/// Kinds whose frames wait in line to be taken; the others say how a stream ends.
[[nodiscard]] constexpr bool carries_payload(FrameKind kind) noexcept {
  return kind == FrameKind::data || kind == FrameKind::message;
}

/// Bits of Header::flags.
inline constexpr std::uint16_t kFlagNonFinite = 1U << 0U;   ///< a NaN or infinity entered this sum somewhere
inline constexpr std::uint16_t kFlagPayloadCrc = 1U << 1U;  ///< payload_crc is set and must match

/// What a host transport puts before every payload. docs/wire-format.md is normative.
struct Header {
  FrameKind kind = FrameKind::data;
  std::uint8_t codec = 0;  ///< compress::CodecId
  std::uint8_t dtype = 0;  ///< DType of the tensors
  std::uint16_t flags = 0;
  std::uint16_t layer = 0;
  std::uint32_t communicator = 0;
  std::uint32_t operation = 0;   ///< sequence number in the communicator, wrapping
  std::uint64_t order_hash = 0;  ///< over all operations submitted so far
  std::uint32_t chunk = 0;
  std::uint32_t segment = 0;
  std::uint32_t sender = 0;  ///< rank
  std::uint32_t count = 0;   ///< elements in the payload
  std::uint32_t payload_bytes = 0;
  std::uint32_t payload_crc = 0;

  friend bool operator==(const Header&, const Header&) = default;
};

using HeaderBytes = std::array<std::byte, kHeaderBytes>;

/// Little-endian, with the header's own CRC32C in its last four bytes.
void write_header(const Header& header, std::span<std::byte, kHeaderBytes> out) noexcept;

/// Throws Error(corrupt_frame) for a bad magic, CRC, kind, flag or length, Error(version_mismatch) for
/// another version. `peer` is named in the error.
[[nodiscard]] Header read_header(std::span<const std::byte, kHeaderBytes> bytes, int peer);

}  // namespace gradwire::wire
