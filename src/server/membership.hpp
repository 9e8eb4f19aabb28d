#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <vector>

#include "gradwire/consistency.hpp"
#include "server/requests.hpp"
#include "server/state_bytes.hpp"

namespace gradwire::server {

using Time = std::chrono::steady_clock::time_point;

/// What a server knows of a worker. Those that are gone for good stay known, for their number may come back.
struct Member {
  std::uint64_t session = 0;
  std::uint64_t clock = 0;     ///< steps it has finished
  std::uint64_t sequence = 0;  ///< of the last push taken from this session
  /// Its pushes that were refused, by their numbers, as far as it may not know that: their repetitions are
  /// refused, too.
  std::map<std::uint64_t, Refused> refused{};
  std::uint32_t connections = 0;
  bool live = false;  ///< holds back the clock
  bool left = false;  ///< why it doesn't, where it doesn't: it said goodbye
  Time deadline{};    ///< of its lease, while it is live
};

/// Who takes part, and how far all have come.
class Membership {
 public:
  Membership(Consistency consistency, std::uint32_t workers, std::chrono::milliseconds lease)
      : consistency_(consistency), workers_(workers), lease_(lease) {}

  /// A session that comes back goes on from its own clock or the servers', whichever is later; a new one
  /// begins at the servers', or at `furthest` where a shard is further than that. Throws
  /// Error(kNumberIsTaken) while another session has the number.
  const Member& join(std::uint32_t worker, std::uint64_t session, Time now, std::uint64_t furthest = 0);
  /// The worker said goodbye: it is no longer live. False when it was not.
  bool leave(std::uint32_t worker, std::uint64_t session);
  /// One of its connections ended.
  void gone(std::uint32_t worker, std::uint64_t session) noexcept;
  /// A sign of life: its lease begins anew. False when it is not live, or another session has the number.
  bool heard(std::uint32_t worker, std::uint64_t session, Time now) noexcept;
  /// Those whose leases have run out, which are no longer live.
  std::vector<std::uint32_t> expire(Time now);
  /// All leases of live workers begin anew.
  void renew(Time now) noexcept;
  /// As many as the job began with; until then the clock is 0.
  [[nodiscard]] bool have_all_joined() const noexcept { return members_.size() >= workers_; }
  /// Whether a worker that is live has a connection.
  [[nodiscard]] bool is_anyone_here() const noexcept;
  [[nodiscard]] bool is_anyone_here_beside(std::uint32_t worker) const noexcept;
  /// When expire() has something to do next.
  [[nodiscard]] Time next_expiry() const noexcept;

  /// The worker, live or not. Throws Error: invalid_argument for one that never joined, peer_lost when
  /// another session has its number.
  Member& known(std::uint32_t worker, std::uint64_t session);
  /// Throws Error(peer_lost) unless the worker is live.
  void require_live(std::uint32_t worker, const Member& member) const;
  /// The worker has finished all steps below `clock`. An earlier one changes nothing.
  void advance(Member& member, std::uint64_t clock);

  /// The least clock of live workers, where it was last when there is none, and 0 until as many workers as
  /// the job began with have joined. It never goes back.
  [[nodiscard]] std::uint64_t clock() const noexcept { return clock_; }
  /// The same of another clock than the workers' own: clock_of(number, member).
  template <typename F>
  [[nodiscard]] std::uint64_t least(F&& clock_of) const;
  /// Whether a worker at clock `clock` may read where the least one is `least`.
  [[nodiscard]] bool may_read(std::uint64_t clock, std::uint64_t least) const noexcept;
  /// nullptr for one that never joined.
  [[nodiscard]] const Member* find(std::uint32_t worker) const noexcept;
  /// How many share in a clock: the live workers, and until all have joined those that are still to come.
  [[nodiscard]] std::uint32_t sharing() const noexcept;

  void save(StateWriter& out) const;
  /// Leases begin anew at `now`, and nobody is connected. Throws Error(corrupt_frame).
  void restore(StateReader& in, Time now);

 private:
  [[nodiscard]] Member* find(std::uint32_t worker, std::uint64_t session) noexcept;
  void update_clock() noexcept;

  Consistency consistency_;
  std::uint32_t workers_;
  std::chrono::milliseconds lease_;
  std::map<std::uint32_t, Member> members_;
  std::uint64_t clock_ = 0;
};

template <typename F>
std::uint64_t Membership::least(F&& clock_of) const {
  constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();
  if (!have_all_joined()) return clock_;
  std::uint64_t least = kNone;
  for (const auto& [worker, member] : members_) {
    if (member.live) least = std::min(least, clock_of(worker, member));
  }
  return least == kNone ? clock_ : least;
}

}  // namespace gradwire::server
