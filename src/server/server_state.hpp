#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "server/job.hpp"
#include "server/membership.hpp"
#include "server/payload.hpp"
#include "server/requests.hpp"
#include "server/shard.hpp"
#include "server/shard_clock.hpp"
#include "server/state_bytes.hpp"
#include "server/version_log.hpp"

namespace gradwire::server {

struct ServerStateOptions {
  std::uint32_t index = 0;
  std::uint32_t servers = 1;
  std::string job = "default";
  std::chrono::milliseconds lease{10'000};
  std::uint32_t kept_versions = 16;
  std::uint64_t incarnation = 1;  ///< drawn at random by each process: versions of two of them are strangers
};

/// What follows a Pulled: either `sealed` or `whole`.
struct PullAnswer {
  Pulled head;
  std::vector<SealedFrame> sealed{};  ///< one payload a version, in their order
  SharedValue whole{};
};

/// Shards whose clocks have moved, so that pulls of them may no longer have to wait.
struct Moved {
  bool all = false;
  std::vector<std::uint32_t> shards{};
};

/// All that a server process knows, and what requests do to it. No I/O and no clock of its own: the same
/// calls give the same state. Everything that a request can do wrong throws Error and changes nothing.
class ServerState {
 public:
  explicit ServerState(const ServerStateOptions& options);

  /// One for each connection. Throws Error: kNumberIsTaken; invalid_argument for options unlike those of
  /// the workers before, as long as one of these is here or left a key, and for another server's; unsupported
  /// for a codec that cannot serve.
  Joined join(const Join& request, Time now);
  /// The worker's process says goodbye: it no longer holds back the clock, and its number is free.
  void leave(std::uint32_t worker, std::uint64_t session);
  /// The pushes of a worker that were refused and that it has to be told of once more when it joins: of some
  /// the answer may have been lost. Kept until it knows.
  [[nodiscard]] std::vector<Refused> refused(std::uint32_t worker, std::uint64_t session) const;
  void forget_refused(std::uint32_t worker, std::uint64_t session) noexcept;
  /// Whether there are so many that it has to join again before it pushes more.
  [[nodiscard]] bool has_many_refused(std::uint32_t worker, std::uint64_t session) const noexcept;
  /// A connection that join() was called for has ended. When it was the worker's last one its number is free
  /// for a new session, but it holds back the clock until its lease is over.
  void gone(std::uint32_t worker, std::uint64_t session) noexcept;

  /// A sign of life, which is whatever arrives on a worker's connection, the first frame of a long push too:
  /// its lease begins anew. False when it is over.
  bool heard(std::uint32_t worker, std::uint64_t session, Time now) noexcept;
  /// Workers whose leases have run out by now, from now on without a say; what waited for them goes on.
  /// What has arrived before `now` has to be reported before.
  std::vector<std::uint32_t> expire(Time now);
  /// The server itself was away: nobody could be heard.
  void renew_leases(Time now) noexcept;
  /// When expire() will have something to do next.
  [[nodiscard]] Time next_expiry() const noexcept;

  /// Throws Error as push() does for a session that has no part in the job, whether its lease is over or not.
  void require_member(std::uint32_t worker, std::uint64_t session);
  [[nodiscard]] bool is_known(const std::string& key) const { return shard_of_key_.contains(key); }
  /// Whether make_key() needs the value. Throws Error as that does for a key that cannot be made.
  [[nodiscard]] bool needs_value(const MakeKey& request);
  /// `value` as many elements as request.count, where it is needed. The first one's value counts. Throws
  /// Error(invalid_argument).
  KeyMade make_key(const MakeKey& request, std::span<const float> value);
  /// What the workers hold of a shard, by its number.
  [[nodiscard]] SharedValue estimate(std::uint32_t number) const;
  /// Which version that is.
  [[nodiscard]] std::uint64_t version(std::uint32_t number) const;
  /// Keys are numbered from 0, as KeyMade::shard, in the order in which they were made.
  [[nodiscard]] std::size_t keys() const noexcept { return shards_.size(); }
  /// As many workers as the job began with.
  [[nodiscard]] bool have_all_joined() const noexcept { return members_ && members_->have_all_joined(); }

  /// How many elements a shard has. Throws Error(invalid_argument) for an unknown one.
  [[nodiscard]] std::uint64_t count(std::uint32_t number) const;
  /// `payload` is whole; it may come back with other memory, to be used for the next.
  /// False when the push was known already; what was refused is refused again. A stamp later than the
  /// worker's clock says that it has finished the steps before. Throws Error: peer_lost for a worker whose
  /// lease is over (its advice: join again), corrupt_frame for bytes that are no payload, invalid_argument
  /// for an unknown shard, a stamp of a step that the worker has finished, and in step for more pushes to a
  /// shard in one step than are kept.
  bool push(std::uint32_t worker, std::uint64_t session, const Push& request, Payload& payload);
  /// A pull at a clock one later than the worker's own says that the worker has finished its step with this
  /// shard, whenever it is answered. Throws Error as push() does.
  void announce(std::uint32_t worker, std::uint64_t session, const Pull& request);
  /// Announces it, too. Nothing while the worker has to wait: then it is to be asked again once take_moved()
  /// has the shard. Throws Error as push() does.
  std::optional<PullAnswer> pull(std::uint32_t worker, std::uint64_t session, const Pull& request);
  /// These two throw Error as push() does.
  void advance(std::uint32_t worker, std::uint64_t session, const Advance& request);
  void beat(std::uint32_t worker, std::uint64_t session);

  /// In step, whether the worker has finished so many steps more than the slowest that the gradients held for
  /// it are enough: nothing more of it should be taken before the clock has moved.
  [[nodiscard]] bool is_far_ahead(std::uint32_t worker, std::uint64_t session) const noexcept;

  /// The least clock of live workers.
  [[nodiscard]] std::uint64_t clock() const noexcept;
  /// Since it was last asked.
  Moved take_moved() noexcept { return std::exchange(moved_, {}); }

  /// Everything that has to outlive the process, as bytes, and back. restore() only in a fresh state with the
  /// same job, index and number of servers; the workers' leases begin anew at `now`. It throws Error and
  /// changes nothing for bytes that save() did not write: corrupt_frame, version_mismatch (another job's,
  /// too), invalid_argument (another server's). `name` is the file's that they come from, for errors.
  [[nodiscard]] StateBytes save() const;
  void restore(std::span<const std::byte> bytes, const std::string& name, Time now);

 private:
  /// Throws unless somebody has joined: before that there is nothing to ask for.
  Membership& members();
  /// Whether what the workers before have agreed on still concerns somebody.
  [[nodiscard]] bool is_bound() const noexcept;
  void require_known(std::uint32_t shard) const;
  /// nullptr where another session has the number, or none.
  [[nodiscard]] const Member* find(std::uint32_t worker, std::uint64_t session) const noexcept;
  /// A push that has not come before.
  void take(std::uint32_t worker, Member& member, const Push& request, Payload& payload);
  /// Up to date with the clock, which it need not be while nobody asks for it.
  [[nodiscard]] Shard& shard(std::uint32_t number) const;
  ShardId id_of(const MakeKey& request);
  void require_own_place(const ShardId& id) const;
  void add_shard(std::unique_ptr<Shard> shard);
  /// The clock of a shard.
  [[nodiscard]] std::uint64_t clock_of(std::uint32_t number) const noexcept;
  /// The members have changed in some way: finds out which shards' clocks have moved.
  void members_changed();
  /// Seals a version if it is time to.
  void refresh(Shard& shard) const;
  void write(StateWriter& out) const;
  void read(StateReader& in, const std::string& name, Time now);

  ServerStateOptions options_;
  std::uint64_t incarnation_;
  std::uint64_t origin_;               ///< the first incarnation of those that followed each other
  std::optional<Job> job_;             ///< of the first worker that was let in
  std::string settings_;               ///< of the worker that joined last
  std::optional<Membership> members_;  ///< since then
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<ShardClock> shard_clocks_;
  std::set<std::uint32_t> ahead_;    ///< shards where a worker is ahead of its own clock
  std::uint64_t members_clock_ = 0;  ///< as members_changed() saw it last
  Moved moved_;
  std::map<std::string, std::uint32_t> shard_of_key_;
};

}  // namespace gradwire::server
