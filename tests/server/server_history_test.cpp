// Random histories of workers that join, push, pull, die and come back, against a model of the rules: no read
// is too stale or misses what it should hold, no push counts twice or gets lost, nobody waits for too long.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../support/quick.hpp"
#include "history_connections.hpp"
#include "history_pulls.hpp"
#include "history_pushes.hpp"
#include "history_world.hpp"

namespace gradwire::server {
namespace {

constexpr int kActions = 150;

class History {
 public:
  explicit History(std::uint32_t seed) : world_(seed) {}

  void run() {
    for (int i = 0; i < kActions; ++i) {
      act();
      check_clock();
      pulls_.retry_waiting();
      check_clock();
    }
  }

  [[nodiscard]] std::string describe() const { return world_.describe(); }
  [[nodiscard]] const HistoryCounts& counts() const { return world_.counts; }

 private:
  void act() {
    const std::uint32_t number = world_.below(world_.processes.size());
    auto& process = world_.processes[number];
    if (!process) return connections_.start(number);
    if (world_.below(20) == 0) return let_time_pass();
    if (world_.below(60) == 0) return connections_.start(number);  // another one takes its number
    if (world_.below(120) == 0) return save();
    if (world_.below(120) == 0) return crash();
    if (process->hangs) return;
    if (!process->connected) return reconnect(*process);
    world_.hear(*process);
    switch (world_.below(26)) {
      case 0: return connections_.die(number);
      case 1: process->hangs = true; return;
      case 2: return connections_.leave(number);
      case 3: return pushes_.repeat_push(*process);
      case 4: return pushes_.repeat_advance(*process);
      case 5: return connections_.lose_connection(*process);
      case 6:
      case 7:
      case 8:
      case 9:
      case 10:
      case 11: return pushes_.push(*process, world_.below(kShards));
      case 12:
      case 13:
      case 14: return pushes_.advance(*process);
      case 15: return pulls_.ask_again_from_older(*process, world_.below(kShards));
      default: return pulls_.ask(*process, world_.below(kShards));
    }
  }

  void reconnect(Process& process) {
    if (!connections_.join(process)) {  // somebody else has the number now
      world_.processes[process.number].reset();
      return;
    }
    pushes_.repeat_unanswered(process);
  }

  void let_time_pass() {
    world_.now += 20 + world_.below(80);
    for (auto& process : world_.processes) {
      if (process && process->connected && !process->hangs && world_.below(4) != 0) world_.hear(*process);
    }
    require(world_.state.expire(at_ms(world_.now)) == world_.model.expire(world_.now),
            "the wrong leases are over");
    for (auto& process : world_.processes) {
      if (process && process->hangs && world_.below(2) == 0) process->hangs = false;
      // It is told to join again, and does so sooner or later.
      if (!process || process->hangs || !process->connected || world_.below(2) == 0) continue;
      if (!world_.model.is_live(process->number, process->session)) connections_.lose_connection(*process);
    }
  }

  void save() {
    saved_ = world_.state.save();
    saved_model_ = world_.model;
  }

  /// The server dies, and goes on from the last state that it saved.
  void crash() {
    if (saved_.empty() || world_.below(2) == 0) save();
    world_.state = world_.fresh_state();
    world_.state.restore(saved_, "saved", at_ms(world_.now));
    world_.model = saved_model_;
    for (auto& [number, worker] : world_.model.workers) {
      worker.connections = 0;
      worker.deadline = world_.now + kLease;
    }
    for (auto& process : world_.processes) {
      if (!process) continue;
      process->connected = false;
      for (SentPush& sent : process->unanswered) sent.is_under_way = false;
    }
  }

  void check_clock() const {
    require(
        static_cast<std::int64_t>(world_.state.clock()) == world_.model.least(),
        fmt::format("the servers' clock is {} instead of {}", world_.state.clock(), world_.model.least()));
  }

  HistoryWorld world_;
  HistoryConnections connections_{world_};
  HistoryPushes pushes_{world_, connections_};
  HistoryPulls pulls_{world_};
  StateBytes saved_;
  HistoryModel saved_model_;
};

TEST(ServerHistory, KeepsTheRules) {
  const std::uint32_t histories = quick() ? 1'000 : 10'000;
  std::uint64_t pulls = 0;
  std::uint64_t sealed_pulls = 0;
  std::uint64_t waits = 0;
  std::uint64_t refusals = 0;
  std::uint64_t repeats = 0;
  for (std::uint32_t seed = 0; seed < histories; ++seed) {
    History history(seed);
    try {
      history.run();
    } catch (const std::exception& error) {
      FAIL() << "history " << seed << ", " << history.describe() << ": " << error.what();
    }
    pulls += history.counts().pulls;
    sealed_pulls += history.counts().sealed_pulls;
    waits += history.counts().waits;
    refusals += history.counts().refusals;
    repeats += history.counts().repeats;
  }
  // Histories in which nothing happens would prove nothing.
  EXPECT_GT(pulls, 20 * histories);
  EXPECT_GT(sealed_pulls, histories);
  EXPECT_GT(waits, histories);
  EXPECT_GT(refusals, histories / 2);
  EXPECT_GT(repeats, histories);
  RecordProperty("counts", fmt::format("pulls {}, sealed {}, waits {}, refusals {}, repeats {}", pulls,
                                       sealed_pulls, waits, refusals, repeats));
}

}  // namespace
}  // namespace gradwire::server
