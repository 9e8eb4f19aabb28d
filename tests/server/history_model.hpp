#pragma once

// The rules of docs/parameter-server.md written down once more, slowly and plainly, for comparison.

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "gradwire/consistency.hpp"
#include "gradwire/error.hpp"

namespace gradwire::server {

/// A push that a server took. Each is of one element that no other push touches.
struct ModelPush {
  std::uint32_t worker = 0;
  std::uint64_t session = 0;
  std::uint64_t stamp = 0;
  std::uint32_t shard = 0;
  std::size_t element = 0;
  std::optional<float> share;  ///< the factor it was applied with
};

struct ModelWorker {
  std::uint64_t session = 0;
  std::uint64_t clock = 0;
  std::uint64_t sequence = 0;
  std::map<std::uint64_t, ErrorCode> refused{};  ///< pushes, as far as it may not know that
  int connections = 0;
  bool live = false;
  std::map<std::uint32_t, std::uint64_t> pulled_for{};  ///< by shard: the latest clock that it pulled at
  std::int64_t deadline = 0;
};

struct HistoryModel {
  Consistency consistency;
  std::size_t job_workers = 1;
  std::int64_t lease = 0;
  std::map<std::uint32_t, ModelWorker> workers;
  std::vector<ModelPush> pushes;
  std::int64_t last_clock = 0;
  std::map<std::uint32_t, std::int64_t> last_shard_clock;

  [[nodiscard]] bool in_step() const { return consistency.is_synchronous(); }

  [[nodiscard]] std::vector<std::int64_t> live_clocks() const {
    std::vector<std::int64_t> clocks;
    for (const auto& [number, worker] : workers) {
      if (worker.live) clocks.push_back(static_cast<std::int64_t>(worker.clock));
    }
    return clocks;
  }

  /// The servers' clock.
  [[nodiscard]] std::int64_t least() const {
    if (workers.size() < job_workers) return 0;
    const auto clocks = live_clocks();
    return clocks.empty() ? last_clock : *std::min_element(clocks.begin(), clocks.end());
  }

  /// How far all have come with a shard: who has pulled it for a step has finished those before.
  [[nodiscard]] std::int64_t least(std::uint32_t shard) const {
    const auto last = last_shard_clock.find(shard);
    const std::int64_t before = std::max(last == last_shard_clock.end() ? 0 : last->second, least());
    if (workers.size() < job_workers || live_clocks().empty()) return before;
    std::optional<std::uint64_t> now;
    for (const auto& [number, worker] : workers) {
      if (!worker.live) continue;
      const auto pulled = worker.pulled_for.find(shard);
      const std::uint64_t clock =
          pulled == worker.pulled_for.end() ? worker.clock : std::max(worker.clock, pulled->second);
      now = std::min(now.value_or(clock), clock);
    }
    return std::max(before, static_cast<std::int64_t>(*now));
  }

  [[nodiscard]] bool may_read(std::uint32_t shard, std::uint64_t clock) const {
    if (consistency.mode == Consistency::Mode::asp) return true;
    return least(shard) >=
           static_cast<std::int64_t>(clock) - static_cast<std::int64_t>(consistency.staleness);
  }
  void pull(std::uint32_t number, std::uint32_t shard, std::uint64_t clock) {
    if (consistency.mode == Consistency::Mode::asp) return;
    auto& pulled = workers[number].pulled_for[shard];
    pulled = std::max(pulled, clock);
    changed();
  }

  [[nodiscard]] bool was_taken(std::uint64_t session, std::uint32_t shard, std::size_t element) const {
    return std::any_of(pushes.begin(), pushes.end(), [&](const ModelPush& push) {
      return push.session == session && push.shard == shard && push.element == element;
    });
  }

  enum class Outcome { taken, known, refused };
  /// What becomes of a push of a session that has its number.
  Outcome arrives(const ModelPush& push, std::uint64_t sequence) {
    ModelWorker& worker = workers[push.worker];
    if (worker.refused.contains(sequence)) return Outcome::refused;
    if (sequence <= worker.sequence) return Outcome::known;
    const auto pulled = worker.pulled_for.find(push.shard);
    const bool is_over =
        push.stamp < worker.clock || (pulled != worker.pulled_for.end() && push.stamp < pulled->second);
    if (!worker.live || is_over) {
      worker.refused[sequence] = worker.live ? ErrorCode::invalid_argument : ErrorCode::peer_lost;
      return Outcome::refused;
    }
    worker.sequence = sequence;
    this->push(push);
    return Outcome::taken;
  }

  [[nodiscard]] bool is_live(std::uint32_t number, std::uint64_t session) const {
    const auto found = workers.find(number);
    return found != workers.end() && found->second.session == session && found->second.live;
  }

  /// False when the number is taken.
  bool join(std::uint32_t number, std::uint64_t session, std::int64_t now) {
    // Where a shard is further, nobody comes back to a step that is over there.
    auto clock = static_cast<std::uint64_t>(least());
    for (const auto& [shard, further] : last_shard_clock)
      clock = std::max(clock, static_cast<std::uint64_t>(further));
    const auto found = workers.find(number);
    if (found == workers.end()) {
      workers[number] = {.session = session, .clock = clock};
    } else if (ModelWorker& known = found->second; known.session != session) {
      if (known.live && known.connections > 0) return false;
      known = {.session = session, .clock = clock};
    } else if (!known.live && known.clock < clock) {
      known.clock = clock;
    }
    ModelWorker& worker = workers[number];
    worker.live = true;
    worker.connections += 1;
    worker.deadline = now + lease;
    changed();
    return true;
  }

  void advance(std::uint32_t number, std::uint64_t clock) {
    ModelWorker& worker = workers[number];
    worker.clock = std::max(worker.clock, clock);
    changed();
  }

  void push(const ModelPush& push) {
    advance(push.worker, push.stamp);
    pushes.push_back(push);
    if (!in_step()) {
      const std::size_t missing = job_workers > workers.size() ? job_workers - workers.size() : 0;
      pushes.back().share = 1.0F / static_cast<float>(live_clocks().size() + missing);
    }
  }

  std::vector<std::uint32_t> expire(std::int64_t now) {
    std::vector<std::uint32_t> expired;
    for (auto& [number, worker] : workers) {
      if (worker.live && worker.deadline <= now) {
        worker.live = false;
        expired.push_back(number);
      }
    }
    changed();
    return expired;
  }

  /// In step, applies what the clock has passed.
  void changed() {
    last_clock = least();
    for (auto& [shard, clock] : last_shard_clock) clock = least(shard);
    if (!in_step()) return;
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::set<std::pair<std::uint32_t, std::uint64_t>>>
        pushed;
    const auto is_due = [this](const ModelPush& push) {
      return !push.share && static_cast<std::int64_t>(push.stamp) < least(push.shard);
    };
    for (const ModelPush& push : pushes) {
      if (is_due(push)) pushed[{push.shard, push.stamp}].insert({push.worker, push.session});
    }
    for (ModelPush& push : pushes) {
      if (is_due(push)) push.share = 1.0F / static_cast<float>(pushed[{push.shard, push.stamp}].size());
    }
  }
};

}  // namespace gradwire::server
