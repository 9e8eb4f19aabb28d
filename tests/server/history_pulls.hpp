#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "history_reads.hpp"
#include "history_world.hpp"

namespace gradwire::server {

/// Processes pull, and wait where they must.
class HistoryPulls {
 public:
  explicit HistoryPulls(HistoryWorld& world) : world_(world) {}

  void ask(Process& process, std::uint32_t shard) {
    const std::uint64_t clock = process.clock + (world_.below(3) == 0 ? 1 : 0);
    process.waiting.push_back({.shard = shard, .clock = clock});
    process.looks_again[shard] = true;
    process.pulled_for[shard] = std::max(process.pulled_for[shard], clock);
  }

  /// As if the answers since then had been lost.
  void ask_again_from_older(Process& process, std::uint32_t shard) {
    if (process.older[shard].values.empty()) return;
    process.mirrors[shard] = process.older[shard];
    ask(process, shard);
  }

  /// A pull that had to wait is only tried again when its shard is said to have moved; nobody who may read
  /// waits on for all that.
  void retry_waiting() {
    for (bool again = true; again;) {
      try_waiting();
      const Moved moved = world_.state.take_moved();
      again = moved.all || !moved.shards.empty();
      for (auto& process : world_.processes) {
        if (!process) continue;
        if (moved.all) process->looks_again.assign(kShards, true);
        for (const std::uint32_t shard : moved.shards) process->looks_again[shard] = true;
      }
    }
    for (const auto& process : world_.processes) {
      if (!process || process->hangs || !process->connected) continue;
      if (!world_.model.is_live(process->number, process->session)) continue;
      for (const Pull& pull : process->waiting) {
        require(!world_.model.may_read(pull.shard, pull.clock),
                fmt::format("worker {} was not told that its pull need not wait", process->number));
      }
    }
  }

 private:
  void try_waiting() {
    for (auto& process : world_.processes) {
      if (!process || process->hangs || !process->connected) continue;
      std::vector<Pull> still;
      const auto looks_again = std::exchange(process->looks_again, std::vector<bool>(kShards));
      for (Pull& pull : process->waiting) {
        if (looks_again[pull.shard] && answered(*process, pull)) continue;
        still.push_back(pull);
        ++world_.counts.waits;
      }
      process->waiting = std::move(still);
    }
  }

  bool answered(Process& process, Pull& pull) {
    Mirror& mirror = process.mirrors[pull.shard];
    pull.incarnation = mirror.incarnation;
    pull.version = mirror.version;
    bool waits_on = false;
    const bool live = world_.allowed(process, "a pull", [&] {
      const auto answer = world_.state.pull(process.number, process.session, pull);
      world_.model.pull(process.number, pull.shard, pull.clock);
      require(answer.has_value() == world_.model.may_read(pull.shard, pull.clock),
              fmt::format("a pull at clock {} {} while the shard's clock is {}", pull.clock,
                          answer ? "was answered" : "has to wait", world_.model.least(pull.shard)));
      if (answer) {
        require(static_cast<std::int64_t>(answer->head.clock) == world_.model.least(pull.shard),
                fmt::format("a pull was told clock {}, and it is {}", answer->head.clock,
                            world_.model.least(pull.shard)));
      }
      if (!answer) {
        waits_on = true;
        return;
      }
      if (world_.below(2) == 0) process.older[pull.shard] = mirror;
      const std::uint64_t held = mirror.version;
      const bool same_server = mirror.incarnation == world_.incarnation;
      mirror.take(*answer, *world_.pull_codec, world_.incarnation);
      require(std::ranges::equal(*world_.state.estimate(pull.shard), mirror.values),
              fmt::format("worker {} holds other bits than the server's version {}", process.number,
                          mirror.version));
      if (!world_.pull_spec.starts_with("onebit"))
        check_read(world_.model, *world_.pull_codec, process, pull, mirror.values);
      ++world_.counts.pulls;
      require(answer->head.whole == !(same_server && mirror.version - held <= kept_frames()),
              fmt::format("version {} was brought up to {} {}", held, mirror.version,
                          answer->head.whole ? "whole" : "by frames"));
      if (!answer->head.whole) {
        require(mirror.version == held + answer->head.sealed, "the wrong number of frames");
        world_.counts.sealed_pulls += answer->head.sealed > 0 ? 1 : 0;
      }
    });
    return !live || !waits_on;
  }

  [[nodiscard]] std::uint64_t kept_frames() const {
    if (world_.pull_codec->identity()) return 0;
    return std::min<std::uint64_t>(world_.kept,
                                   kElements * sizeof(float) / world_.pull_codec->max_payload(kElements));
  }

  HistoryWorld& world_;
};

}  // namespace gradwire::server
