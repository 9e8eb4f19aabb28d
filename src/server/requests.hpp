#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "gradwire/consistency.hpp"
#include "gradwire/error.hpp"

/// What a worker asks of a server, and what it is answered. docs/wire-format.md has the bytes.
namespace gradwire::server {

/// Numbers of the messages; they never change meaning.
enum class Verb : std::uint8_t {
  join = 1,
  make_key = 2,
  push = 3,
  pull = 4,
  advance = 5,
  beat = 6,
  leave = 7,
  // Answers.
  joined = 65,
  key_made = 66,
  accepted = 67,
  pulled = 68,
  refused = 69,
};

/// What to do about messages that no correct peer of this version sends.
inline constexpr std::string_view kSameVersion = "run the same version of Gradwire everywhere";

/// Of a worker: no sum with it overflows.
inline constexpr std::uint64_t kMaxClock = std::uint64_t{1} << 62U;

/// The first request on every connection. All workers of a job give the same, but for worker and session.
struct Join {
  static constexpr Verb kVerb = Verb::join;
  std::uint64_t session = 0;  ///< random; a client keeps it over its connections
  std::uint32_t worker = 0;
  std::uint32_t workers = 1;  ///< of the job at its start
  std::uint32_t server = 0;   ///< whom this is meant for, among `servers`
  std::uint32_t servers = 1;
  Consistency consistency{};
  std::string push_codec = "none";
  std::string pull_codec = "none";
  std::string settings{};  ///< lines that mean something to workers only
};

struct Joined {
  static constexpr Verb kVerb = Verb::joined;
  std::uint64_t incarnation = 0;
  std::uint64_t clock = 0;     ///< the worker's, from now on: at least the servers' clock
  std::uint64_t sequence = 0;  ///< the last push of this session that the server knows; 0 for none
  std::uint32_t lease_ms = 0;
  std::uint32_t shards = 0;  ///< that the server has
  std::uint64_t origin = 0;  ///< the incarnation that began with nothing, before all restarts from snapshots
};

/// A shard of a key. Followed by its value, float32, in frames.
struct MakeKey {
  static constexpr Verb kVerb = Verb::make_key;
  std::uint64_t request = 0;
  std::string key;
  std::string optimizer;
  std::uint64_t total = 0;  ///< elements of the whole key
  std::uint64_t first = 0;  ///< of the shard in it
  std::uint64_t count = 0;
};

/// Followed by the estimate, float32, in frames.
struct KeyMade {
  static constexpr Verb kVerb = Verb::key_made;
  std::uint64_t request = 0;
  std::uint32_t shard = 0;  ///< its number from now on, on this server
  std::uint64_t version = 0;
  std::uint64_t count = 0;
};

/// Followed by the gradient's payload in frames.
struct Push {
  static constexpr Verb kVerb = Verb::push;
  std::uint64_t sequence = 0;  ///< 1, 2, 3, ... on this server, by session
  std::uint32_t shard = 0;
  std::uint64_t clock = 0;  ///< the stamp
};

struct Pull {
  static constexpr Verb kVerb = Verb::pull;
  std::uint64_t request = 0;
  std::uint32_t shard = 0;
  std::uint64_t clock = 0;        ///< the worker's
  std::uint64_t incarnation = 0;  ///< of the version that the worker holds
  std::uint64_t version = 0;
};

/// Followed by frames: those of `sealed` versions, each a whole payload of the pull codec, or the estimate in
/// float32 when `whole`.
struct Pulled {
  static constexpr Verb kVerb = Verb::pulled;
  std::uint64_t request = 0;
  std::uint64_t version = 0;
  std::uint64_t clock = 0;  ///< the servers' one: what later clocks pushed may be missing
  std::uint32_t sealed = 0;
  bool whole = false;
};

/// The worker has finished all steps below `clock`.
struct Advance {
  static constexpr Verb kVerb = Verb::advance;
  std::uint64_t clock = 0;
};

/// Of a push (by its sequence number) or a leave (0). With 0 also a sign of life.
struct Accepted {
  static constexpr Verb kVerb = Verb::accepted;
  std::uint64_t sequence = 0;
};

/// The code by which a join is refused for a number that another process has: that may change, all else that
/// is wrong with a join stays so.
constexpr ErrorCode kNumberIsTaken = ErrorCode::system;

/// Of any request: `request` is its number, a push's sequence number, or 0.
struct Refused {
  static constexpr Verb kVerb = Verb::refused;
  Verb verb = Verb::push;
  std::uint64_t request = 0;
  ErrorCode code = ErrorCode::invalid_argument;
  std::string happened{};
  std::string advice{};
};

/// How a request is refused for `error`.
[[nodiscard]] Refused refusal(Verb verb, std::uint64_t request, const Error& error);

}  // namespace gradwire::server
