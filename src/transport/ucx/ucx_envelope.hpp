#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "wire/header.hpp"

namespace gradwire::transport {

inline constexpr std::size_t kEnvelopeBytes = 48;
/// What stands before a payload: an envelope and a frame's header.
inline constexpr std::size_t kUcxHeadBytes = kEnvelopeBytes + wire::kHeaderBytes;

enum class UcxKind : std::uint32_t {
  hello = 1,   ///< the sender has read the receiver's address
  frame = 2,   ///< a frame's header follows, and its payload is the message's data
  credit = 3,  ///< only says what was taken
  end = 4,     ///< how the sender's stream ended: see LinkEnd::to_word()
  heard = 5,   ///< the sender has heard of the receiver's end
};

/// What every message over UCX begins with. UCX does not say who sent a message, nor does it keep the order
/// of those that are fetched (rendezvous), so that is said here. docs/wire-format.md is normative.
struct UcxEnvelope {
  UcxKind kind = UcxKind::hello;
  std::uint32_t sender = 0;          ///< rank
  std::uint64_t sender_token = 0;    ///< which both have published, for
  std::uint64_t receiver_token = 0;  ///< telling this run from earlier ones
  std::uint64_t number = 0;          ///< of a frame, from 0; of an end: the frames before it
  std::uint64_t taken = 0;           ///< frames of the other direction that the sender needs no place for
  std::uint64_t end = 0;             ///< of an end

  friend bool operator==(const UcxEnvelope&, const UcxEnvelope&) = default;
};

void write_envelope(const UcxEnvelope& envelope, std::span<std::byte, kEnvelopeBytes> out) noexcept;

/// Nothing for what is no envelope.
[[nodiscard]] std::optional<UcxEnvelope> read_envelope(std::span<const std::byte> bytes) noexcept;

}  // namespace gradwire::transport
