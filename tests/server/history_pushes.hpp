#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "history_connections.hpp"
#include "history_world.hpp"

namespace gradwire::server {

/// Processes push, repeat what was not answered, and end their steps.
class HistoryPushes {
 public:
  HistoryPushes(HistoryWorld& world, HistoryConnections& connections)
      : world_(world), connections_(connections) {}

  void push(Process& process, std::uint32_t shard) {
    if (world_.below(5) > 0) {
      if (const auto sent = next(process, shard)) deliver(process, *sent);
      return;
    }
    // The connection ends before its answer comes, and those of some more: from one on none arrive.
    bool arrives = true;
    do {
      auto sent = next(process, shard);
      if (!sent) break;
      arrives = arrives && world_.below(2) == 0;
      if (arrives) deliver(process, *sent);
      sent->is_under_way = !arrives;
      process.unanswered.push_back(*sent);
    } while (world_.below(2) == 0);
    if (!process.unanswered.empty()) connections_.hang_up(process);
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
    auto unanswered = std::exchange(process.unanswered, {});
    // Of what was under way on the connection before, something may still arrive.
    std::size_t late = world_.below(4) == 0 ? world_.below(unanswered.size() + 1) : 0;
    for (const SentPush& sent : unanswered) {
      if (!sent.is_under_way || late == 0) continue;
      deliver(process, sent);
      --late;
    }
    for (const SentPush& again : unanswered) {
      const bool is_done = again.request.sequence <= process.told_sequence;
      // Of a step that the servers did without it.
      if (!is_done && again.request.clock < world_.model.workers[process.number].clock) continue;
      const Outcome outcome = deliver(process, again);
      require(outcome == Outcome::known || !is_done, "a push was taken again after reconnecting");
      if (outcome != Outcome::known) continue;
      require(world_.model.was_taken(process.session, again.request.shard, again.element),
              "a push that was refused counts as taken for its worker");
      ++world_.counts.repeats;
    }
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
  using Outcome = HistoryModel::Outcome;

  /// Nothing where the process has to do something else first.
  std::optional<SentPush> next(Process& process, std::uint32_t shard) {
    if (next_element_[shard] == kElements) return std::nullopt;
    if (process.clock < process.pulled_for[shard] && world_.below(10) > 0) return std::nullopt;
    // Some are of a step that is over.
    const std::uint64_t late = process.clock > 0 && world_.below(20) == 0 ? 1 : 0;
    return SentPush{
        .request = {.sequence = ++process.sequence, .shard = shard, .clock = process.clock - late},
        .element = next_element_[shard]++};
  }

  /// False when the server knows it already.
  bool give(const Process& process, const SentPush& sent) {
    Floats gradient(kElements);
    gradient[sent.element] = -1;
    Payload payload = encoded(*world_.push_codec, gradient);
    return world_.state.push(process.number, process.session, sent.request, payload);
  }

  Outcome deliver(Process& process, const SentPush& sent) {
    const auto worker = world_.model.workers.find(process.number);
    const bool has_number = worker != world_.model.workers.end() && worker->second.session == process.session;
    const Outcome expected = has_number ? world_.model.arrives({.worker = process.number,
                                                                .session = process.session,
                                                                .stamp = sent.request.clock,
                                                                .shard = sent.request.shard,
                                                                .element = sent.element,
                                                                .share = std::nullopt},
                                                               sent.request.sequence)
                                        : Outcome::refused;
    Outcome outcome = Outcome::refused;
    try {
      outcome = give(process, sent) ? Outcome::taken : Outcome::known;
    } catch (const Error& error) {
      require(expected == Outcome::refused, fmt::format("push {} of worker {} was refused: {}",
                                                        sent.request.sequence, process.number, error.what()));
      const ErrorCode code =
          has_number ? worker->second.refused.at(sent.request.sequence) : ErrorCode::peer_lost;
      require(error.code() == code, fmt::format("a push was refused for another reason: {}", error.what()));
      ++world_.counts.refusals;
    }
    require(outcome == expected, fmt::format("push {} of worker {} was {}", sent.request.sequence,
                                             process.number, to_string(outcome)));
    if (outcome == Outcome::taken) process.sent.push_back(sent);
    return outcome;
  }

  static std::string_view to_string(Outcome outcome) {
    if (outcome == Outcome::known) return "known, and should not be";
    return outcome == Outcome::taken ? "taken, and should not be" : "refused, and should not be";
  }

  HistoryWorld& world_;
  HistoryConnections& connections_;
  std::size_t next_element_[kShards] = {};
};

}  // namespace gradwire::server
