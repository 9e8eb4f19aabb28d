#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/limits.hpp"

namespace gradwire::wire {

inline constexpr std::uint32_t kHelloMagic = 0x31485747;  // "GWH1" in memory
inline constexpr std::size_t kMinHelloBytes = 52;
inline constexpr std::size_t kMaxHelloBytes = kMinHelloBytes + base::kMaxJobBytes;
/// Enough to tell a hello's length.
inline constexpr std::size_t kHelloPrefixBytes = 8;

/// In the place of the receiver's rank: whoever gets this hello is turned away, and which rank it has is not
/// known or is taken.
inline constexpr std::uint32_t kNoRank = 0xFFFFFFFF;

/// In the place of the communicator's id: between a caller (rank 0) and a service (rank 1), which are ranks
/// of no communicator.
inline constexpr std::uint32_t kServiceCommunicator = 0xFFFFFFFF;

/// The first bytes on every connection, in both directions: who speaks, and as a part of what.
/// docs/wire-format.md is normative.
struct Hello {
  std::string job;  ///< at most base::kMaxJobBytes
  std::uint32_t communicator = 0;
  std::uint32_t world_size = 0;
  std::uint32_t rank = 0;         ///< of who sends this
  std::uint32_t peer = 0;         ///< rank of who is meant to read it
  std::uint16_t connection = 0;   ///< this connection's number, from 0
  std::uint16_t connections = 1;  ///< how many there are between the two
  /// The listener's, from the store: tells it from an older one on the same port. Between a caller and a
  /// service the caller's own, which tells its connections from those of others.
  std::uint64_t token = 0;
  std::uint64_t layout = 0;  ///< shared memory only: fingerprint of its layout

  friend bool operator==(const Hello&, const Hello&) = default;
};

struct HelloBytes {
  std::array<std::byte, kMaxHelloBytes> buffer{};
  std::size_t size = 0;
  [[nodiscard]] std::span<const std::byte> view() const noexcept { return std::span(buffer).first(size); }
};

/// Throws Error(invalid_argument) when the job's name is too long.
[[nodiscard]] HelloBytes write_hello(const Hello& hello);

/// How long the hello is whose first bytes these are, or nullopt for fewer than kHelloPrefixBytes.
/// `from` names who is connected ("10.0.0.7:4711", "rank 3") in the errors, which are those of read_hello.
[[nodiscard]] std::optional<std::size_t> hello_size(std::span<const std::byte> begin,
                                                    const std::string& from);

/// Throws Error(corrupt_frame) for anything but a whole, undamaged hello, Error(version_mismatch) for one of
/// another version of the protocol.
[[nodiscard]] Hello read_hello(std::span<const std::byte> bytes, const std::string& from);

/// Refuses a peer that does not belong here. `expected` is what this rank would say about itself, with `peer`
/// the rank that is expected, or this rank's own number where anybody may come. Looks first at what tells
/// another job or run, so that both sides find the same reason. Throws Error: version_mismatch for another
/// job, communicator, token or memory layout, invalid_argument for ranks that disagree on the world's size or
/// the number of connections, corrupt_frame for a rank outside the world.
void check_hello(const Hello& received, const Hello& expected, const std::string& from);

}  // namespace gradwire::wire
