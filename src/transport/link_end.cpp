#include "transport/link_end.hpp"

#include <fmt/format.h>

namespace gradwire::transport {
namespace {

constexpr unsigned kCodeShift = 8;
constexpr unsigned kOriginShift = 32;
constexpr std::uint64_t kKindMask = 0xFF;
constexpr std::uint64_t kCodeMask = 0xFFFFFF;

/// What a rank's failure is to the others. Its own mistakes are no mistakes of theirs: to them it is lost.
ErrorCode as_seen_by_others(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::timeout:
    case ErrorCode::corrupt_frame:
    case ErrorCode::version_mismatch:
    case ErrorCode::order_mismatch:
    case ErrorCode::non_finite: return code;
    default: return ErrorCode::peer_lost;
  }
}

}  // namespace

Error LinkEnd::to_error(int peer) const {
  switch (kind) {
    case Kind::goodbye:
      return {ErrorCode::peer_lost,
              fmt::format("rank {} closed its communicator while it was still needed", peer),
              "let all ranks run the same operations before they close", peer};
    case Kind::abort: {
      const char* advice = "see that rank's own message, then restart the job or rebuild the communicator";
      if (code == ErrorCode::peer_lost && origin != peer) {
        return {ErrorCode::peer_lost, fmt::format("rank {} is gone, rank {} reports", origin, peer), advice,
                origin};
      }
      if (origin != peer) {
        return {as_seen_by_others(code),
                fmt::format("rank {} reports {} by rank {}", peer, to_string(code), origin), advice, origin};
      }
      return {as_seen_by_others(code),
              fmt::format("rank {} gave up after an error of its own: {}", peer, to_string(code)), advice,
              origin};
    }
    case Kind::garbage:
      if (garbage) return *garbage;
      [[fallthrough]];
    default:
      return {ErrorCode::peer_lost, fmt::format("rank {} died{}{}", peer, detail.empty() ? "" : ": ", detail),
              "look for its last message, then restart the job or rebuild the communicator without it", peer};
  }
}

std::uint64_t LinkEnd::to_word() const noexcept {
  return static_cast<std::uint64_t>(kind) | (static_cast<std::uint64_t>(code) & kCodeMask) << kCodeShift |
         static_cast<std::uint64_t>(static_cast<std::uint32_t>(origin)) << kOriginShift;
}

LinkEnd LinkEnd::from_word(std::uint64_t word, int world_size) {
  if (word == 0) return {};
  const auto kind = static_cast<Kind>(word & kKindMask);
  LinkEnd end;
  end.kind = Kind::died;
  if (kind == Kind::goodbye) end.kind = kind;
  if (kind == Kind::abort && word >> kOriginShift < static_cast<std::uint64_t>(world_size)) {
    const auto code = to_error_code(static_cast<std::uint32_t>((word >> kCodeShift) & kCodeMask));
    end.kind = kind;
    end.code = code.value_or(ErrorCode::peer_lost);
    end.origin = static_cast<int>(word >> kOriginShift);
  }
  return end;
}

LinkEnd blame(const Error& cause, int rank) {
  LinkEnd end;
  end.kind = LinkEnd::Kind::abort;
  end.origin = cause.peer().value_or(rank);
  end.code = cause.code();
  return end;
}

std::optional<ErrorCode> to_error_code(std::uint32_t number) noexcept {
  const auto code = static_cast<ErrorCode>(number);
  if (to_string(code) == "unknown") return std::nullopt;
  return code;
}

}  // namespace gradwire::transport
