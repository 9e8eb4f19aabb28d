#pragma once

#include <cstdint>
#include <map>

#include "server/membership.hpp"
#include "server/state_bytes.hpp"

namespace gradwire::server {

/// How far the workers have come with one shard. A worker that pulls what follows from a step has pushed all
/// that it will to this shard in it, before it says so of all shards by its clock. So values can go back
/// while gradients of other keys are still on their way.
class ShardClock {
 public:
  /// The worker asked for what its steps below `clock` make of the shard.
  void finish(std::uint32_t worker, std::uint64_t session, std::uint64_t clock);
  /// Steps that the worker has finished here.
  [[nodiscard]] std::uint64_t of(std::uint32_t worker, const Member& member) const;

  /// After finish(), and where is_ahead() after any change of the members: true when now() has moved.
  bool update(const Membership& members);
  /// The least one of live workers. It never goes back.
  [[nodiscard]] std::uint64_t now(const Membership& members) const noexcept;
  /// Whether a worker is further here than its own clock.
  [[nodiscard]] bool is_ahead() const noexcept { return !ahead_.empty(); }

  void save(StateWriter& out) const;
  /// Throws Error(corrupt_frame).
  void restore(StateReader& in);

 private:
  struct Ahead {
    std::uint64_t session = 0;
    std::uint64_t clock = 0;
  };

  std::map<std::uint32_t, Ahead> ahead_;
  std::uint64_t clock_ = 0;  ///< as of update()
};

}  // namespace gradwire::server
