#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "history_world.hpp"

namespace gradwire::server {

/// Processes join, lose their connections, and go.
class HistoryConnections {
 public:
  explicit HistoryConnections(HistoryWorld& world) : world_(world) {}

  /// A new process with this number; one that has it already may have to give way.
  void start(std::uint32_t number) {
    Process process{.number = number, .session = ++sessions_};
    if (join(process)) world_.processes[number] = std::move(process);
  }

  /// False when the number is taken.
  bool join(Process& process) {
    const Join request{.session = process.session,
                       .worker = process.number,
                       .workers = world_.workers,
                       .consistency = world_.model.consistency,
                       .push_codec = world_.push_spec,
                       .pull_codec = world_.pull_spec};
    const bool free = world_.model.join(process.number, process.session, world_.now);
    Joined answer;
    try {
      answer = world_.state.join(request, at_ms(world_.now));
    } catch (const Error& error) {
      require(!free && error.code() == kNumberIsTaken,
              fmt::format("join of worker {}: {}", process.number, error.what()));
      return false;
    }
    require(free, fmt::format("worker {} got a number that is taken", process.number));
    const ModelWorker& known = world_.model.workers[process.number];
    require(answer.sequence == known.sequence, fmt::format("worker {} was told of push {} instead of {}",
                                                           process.number, answer.sequence, known.sequence));
    require(answer.clock == known.clock, fmt::format("worker {} was given clock {} instead of {}",
                                                     process.number, answer.clock, known.clock));
    require(answer.incarnation == world_.incarnation, "a restarted server gave an incarnation of before");
    hear_of_refused(process);
    process.connected = true;
    process.told_sequence = answer.sequence;
    process.looks_again.assign(kShards, true);
    process.clock = std::max(process.clock, answer.clock);
    if (process.clock > answer.clock) {
      world_.state.advance(process.number, process.session, {.clock = process.clock});
      world_.model.advance(process.number, process.clock);
    }
    for (std::uint32_t shard = 0; shard < kShards; ++shard) {
      const KeyMade made = world_.state.make_key(
          whole_key(fmt::format("key{}", shard), kElements, "sgd:lr=1"), Floats(kElements));
      require(made.shard == shard, "a key has another number than before");
      if (process.mirrors[shard].values.empty()) process.mirrors[shard].values.resize(kElements);
    }
    return true;
  }

  void hang_up(Process& process) {
    process.connected = false;
    world_.state.gone(process.number, process.session);
    const auto found = world_.model.workers.find(process.number);
    if (found != world_.model.workers.end() && found->second.session == process.session &&
        found->second.connections > 0) {
      --found->second.connections;
    }
  }

  /// Sometimes the new connection is there before the end of the old one is noticed.
  void lose_connection(Process& process) {
    const bool late = world_.below(2) == 0;
    if (!late) hang_up(process);
    if (!join(process)) {
      world_.processes[process.number].reset();
      return;
    }
    if (late) {
      hang_up(process);
      process.connected = true;
    }
  }

  void die(std::uint32_t number) {
    hang_up(*world_.processes[number]);
    world_.processes[number].reset();
  }

  void leave(std::uint32_t number) {
    if (world_.below(3) != 0) return;
    const std::uint64_t session = world_.processes[number]->session;
    world_.state.leave(number, session);
    if (world_.model.is_live(number, session)) {
      world_.model.workers[number].live = false;
      world_.model.changed();
    }
    die(number);
  }

 private:
  /// What a server says again of refused pushes before it answers a join.
  void hear_of_refused(Process& process) {
    auto& expected = world_.model.workers[process.number].refused;
    const auto refused = world_.state.refused(process.number, process.session);
    require(refused.size() == expected.size(), "the wrong number of refused pushes is told of");
    for (const Refused& one : refused) {
      const auto found = expected.find(one.request);
      require(found != expected.end() && found->second == one.code,
              fmt::format("worker {} is told that push {} was refused", process.number, one.request));
      std::erase_if(process.unanswered, [&](const SentPush& sent) {
        if (sent.request.sequence != one.request) return false;
        require(!world_.model.was_taken(process.session, sent.request.shard, sent.element),
                "a push that was taken counts as refused for its worker");
        return true;
      });
    }
    if (world_.below(8) == 0) return;  // the server is not told that
    expected.clear();
    world_.state.forget_refused(process.number, process.session);
  }

  HistoryWorld& world_;
  std::uint64_t sessions_ = 0;
};

}  // namespace gradwire::server
