#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "history_connections.hpp"
#include "history_world.hpp"

namespace gradwire::server {

/// Processes push, repeat what was not answered, and end their steps.
class HistoryPushes {
 public:
  HistoryPushes(HistoryWorld& world, HistoryConnections& connections)
      : world_(world), connections_(connections) {}

  void push(Process& process, std::uint32_t shard) {
    if (next_element_[shard] == kElements || process.clock < process.pulled_for[shard]) return;
    SentPush sent{.request = {.sequence = ++process.sequence, .shard = shard, .clock = process.clock},
                  .element = next_element_[shard]++};
    switch (world_.below(10)) {
      case 0: break;                          // it never arrives
      case 1: deliver(process, sent); break;  // the answer doesn't
      default: deliver(process, sent); return;
    }
    process.unanswered = sent;
    connections_.hang_up(process);
  }

  void repeat_push(Process& process) {
    const auto found = world_.model.workers.find(process.number);
    if (process.sent.empty() || found == world_.model.workers.end() ||
        found->second.session != process.session)
      return;
    const SentPush& sent = process.sent[world_.below(process.sent.size())];
    // A server that went back to an older state doesn't know its latest pushes, and the client does not
    // repeat what was acknowledged.
    if (sent.request.sequence > found->second.sequence) return;
    require(!give(process, sent),
            fmt::format("push {} of worker {} was taken again", sent.request.sequence, process.number));
    ++world_.counts.repeats;
  }

  /// After its connection was lost and there is another one.
  void repeat_unanswered(Process& process) {
    if (!process.unanswered) return;
    SentPush again = *process.unanswered;
    process.unanswered.reset();
    if (again.request.sequence <= world_.model.workers[process.number].sequence) {
      require(!give(process, again), "a push was taken again after reconnecting");
      ++world_.counts.repeats;
      return;
    }
    again.request.clock = std::max(again.request.clock, world_.model.workers[process.number].clock);
    deliver(process, again);
  }

  void advance(Process& process) {
    ++process.clock;
    if (world_.allowed(process, "a clock", [&] {
          world_.state.advance(process.number, process.session, {.clock = process.clock});
        })) {
      world_.model.advance(process.number, process.clock);
    }
  }

  void repeat_advance(Process& process) {
    const std::uint64_t earlier = process.clock - std::min<std::uint64_t>(process.clock, world_.below(3));
    if (world_.allowed(process, "a clock again",
                       [&] { world_.state.advance(process.number, process.session, {.clock = earlier}); })) {
      world_.model.advance(process.number, earlier);
    }
  }

 private:
  /// False when the server knows it already.
  bool give(const Process& process, const SentPush& sent) {
    Floats gradient(kElements);
    gradient[sent.element] = -1;
    Payload payload = encoded(*world_.push_codec, gradient);
    return world_.state.push(process.number, process.session, sent.request, payload);
  }

  void deliver(Process& process, const SentPush& sent) {
    const bool taken = world_.allowed(process, "a push", [&] {
      require(give(process, sent), "a new push counted as known");
      world_.model.push({.worker = process.number,
                         .session = process.session,
                         .stamp = sent.request.clock,
                         .shard = sent.request.shard,
                         .element = sent.element,
                         .share = std::nullopt});
    });
    if (!taken) return;
    world_.model.workers[process.number].sequence = sent.request.sequence;
    process.sent.push_back(sent);
  }

  HistoryWorld& world_;
  HistoryConnections& connections_;
  std::size_t next_element_[kShards] = {};
};

}  // namespace gradwire::server
