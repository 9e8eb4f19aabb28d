#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "collectives/symbolic.hpp"

namespace gradwire::collectives {
namespace {

bool is_transfer(const Step& step) { return step.verb == Verb::send || step.verb == Verb::recv; }

std::size_t index(int value) { return static_cast<std::size_t>(value); }

auto order_key(int rank, const Step& step) {
  const bool sends = step.verb == Verb::send;
  const int source = sends ? rank : step.peer;
  const int destination = sends ? step.peer : rank;
  return std::tuple(step.round, source % 2, source, destination, step.stage, step.layer, step.chunk_begin);
}

bool touches(const Step& step, int chunk) { return step.chunk_begin <= chunk && chunk < step.chunk_end; }

/// The order of one rank's steps on one chunk.
void check_chunk_order(const Schedule& schedule, int rank, int chunk, Violations& violations) {
  const bool layered = schedule.layers > 1;
  const Step* received = nullptr;  // its consumer has to be next
  int last_recv_round = -1;
  int next_layer = 0;
  for (const Step& step : schedule.steps[index(rank)]) {
    if (!touches(step, chunk)) continue;
    const bool consumes = step.verb == Verb::add || step.verb == Verb::assign;
    if (received != nullptr && !(consumes && step.slot == received->slot)) {
      violations.push_back(describe_step(rank, *received) + ": is not followed by what consumes it");
    }
    received = step.verb == Verb::recv && !layered ? &step : nullptr;
    if (step.verb == Verb::recv) last_recv_round = std::max(last_recv_round, step.round);
    if (step.verb == Verb::send && !layered && step.round <= last_recv_round) {
      violations.push_back(describe_step(rank, step) + ": depends on a receive of its own or a later round");
    }
    if (layered && consumes &&
        (step.layer != next_layer++ || (step.verb == Verb::assign) != (step.layer == 0))) {
      violations.push_back(describe_step(rank, step) + ": layers are not added in rank order");
    }
  }
  if (received != nullptr) violations.push_back(describe_step(rank, *received) + ": is consumed by nothing");
}

}  // namespace

Violations check_matched(const Schedule& schedule) {
  using Described = std::tuple<int, int, Stage, int>;
  std::map<std::pair<int, int>, std::vector<Described>> sent;
  std::map<std::pair<int, int>, std::vector<Described>> received;
  for (int rank = 0; rank < schedule.ranks; ++rank) {
    for (const Step& step : schedule.steps[index(rank)]) {
      const Described described{step.chunk_begin, step.chunk_end, step.stage, step.layer};
      if (step.verb == Verb::send) sent[{rank, step.peer}].push_back(described);
      if (step.verb == Verb::recv) received[{step.peer, rank}].push_back(described);
    }
  }
  Violations violations;
  for (int from = 0; from < schedule.ranks; ++from) {
    for (int to = 0; to < schedule.ranks; ++to) {
      const std::pair pair(from, to);
      if (from == to && (sent.contains(pair) || received.contains(pair))) {
        violations.push_back(fmt::format("rank {} sends to itself", from));
      }
      if (sent[pair] != received[pair]) {
        violations.push_back(fmt::format("rank {} does not receive what rank {} sends to it", to, from));
      }
    }
  }
  return violations;
}

Violations check_order(const Schedule& schedule) {
  Violations violations;
  for (int rank = 0; rank < schedule.ranks; ++rank) {
    const Step* before = nullptr;
    for (const Step& step : schedule.steps[index(rank)]) {
      if (step.chunk_begin < 0 || step.chunk_end <= step.chunk_begin ||
          step.chunk_end > schedule.chunk_count) {
        violations.push_back(describe_step(rank, step) + ": is not a run of chunks");
      }
      if (!is_transfer(step)) continue;
      if (before != nullptr && order_key(rank, step) <= order_key(rank, *before)) {
        violations.push_back(
            fmt::format("{}: comes after {}", describe_step(rank, step), describe_step(rank, *before)));
      }
      before = &step;
    }
    for (int chunk = 0; chunk < schedule.chunk_count; ++chunk)
      check_chunk_order(schedule, rank, chunk, violations);
  }
  return violations;
}

Violations check_progress(const Schedule& schedule, Buffering buffering) {
  std::vector<std::vector<const Step*>> transfers(index(schedule.ranks));
  for (int rank = 0; rank < schedule.ranks; ++rank) {
    for (const Step& step : schedule.steps[index(rank)]) {
      if (is_transfer(step)) transfers[index(rank)].push_back(&step);
    }
  }
  std::vector<std::size_t> next(transfers.size(), 0);
  std::map<std::pair<int, int>, bool> full;
  const auto head = [&](int rank) {
    return next[index(rank)] < transfers[index(rank)].size() ? transfers[index(rank)][next[index(rank)]]
                                                             : nullptr;
  };
  const auto try_step = [&](int rank) {
    const Step* step = head(rank);
    if (step == nullptr) return false;
    if (buffering == Buffering::rendezvous) {
      if (step->verb != Verb::send) return false;  // the sender moves both
      const Step* other = head(step->peer);
      if (other == nullptr || other->verb != Verb::recv || other->peer != rank) return false;
      ++next[index(step->peer)];
    } else {
      const bool sends = step->verb == Verb::send;
      bool& buffer = full[sends ? std::pair(rank, step->peer) : std::pair(step->peer, rank)];
      if (buffer == sends) return false;
      buffer = sends;
    }
    ++next[index(rank)];
    return true;
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (int rank = 0; rank < schedule.ranks; ++rank) {
      while (try_step(rank)) moved = true;
    }
  }
  Violations violations;
  for (int rank = 0; rank < schedule.ranks; ++rank) {
    if (const Step* step = head(rank)) violations.push_back(describe_step(rank, *step) + ": is stuck");
  }
  return violations;
}

}  // namespace gradwire::collectives
