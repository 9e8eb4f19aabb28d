#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/requests.hpp"

// The heads of messages as bytes: docs/wire-format.md is normative. What is written is read to the same, and
// what is read would be written to the same bytes.
namespace gradwire::server {

/// The worker lives; nothing else.
struct Beat {
  static constexpr Verb kVerb = Verb::beat;
};
/// The worker goes and does not come back on this connection.
struct Leave {
  static constexpr Verb kVerb = Verb::leave;
};

using Request = std::variant<Join, MakeKey, Push, Pull, Advance, Beat, Leave>;
using Answer = std::variant<Joined, KeyMade, Accepted, Pulled, Refused>;

inline constexpr std::size_t kMaxKeyBytes = 255;  ///< at least 1
inline constexpr std::size_t kMaxSpecBytes = 255;
inline constexpr std::size_t kMaxSettingsBytes = 1000;
inline constexpr std::size_t kMaxReasonBytes = 1000;  ///< of each text of a Refused; what is longer is cut
/// Of a key: few enough that no size in bytes overflows.
inline constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 40U;

/// The payload of a frame of kind `message`. `number` is the request's or sequence number that the data
/// frames after it carry too, 0 for messages without one.
struct Head {
  std::uint64_t number = 0;
  std::vector<std::byte> bytes;
};

/// Throws Error(invalid_argument) for a key or a spec that is too long, or an empty key.
[[nodiscard]] Head write_request(const Request& request);
[[nodiscard]] Head write_answer(const Answer& answer);

/// Throws Error(corrupt_frame) naming `from` ("worker 3") and what is wrong.
[[nodiscard]] Request read_request(std::span<const std::byte> bytes, std::string_view from);
[[nodiscard]] Answer read_answer(std::span<const std::byte> bytes, std::string_view from);

[[nodiscard]] std::uint64_t number_of(const Request& request);
[[nodiscard]] std::uint64_t number_of(const Answer& answer);

/// Throws Error(corrupt_frame): a peer did what no correct one does.
[[noreturn]] void reject(const std::string& what);

[[nodiscard]] Verb verb_of(const Request& request);
/// "push", "key_made", ...
[[nodiscard]] std::string_view to_string(Verb verb) noexcept;

}  // namespace gradwire::server
