#include "collectives/symbolic.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include <fmt/format.h>

namespace gradwire::collectives {
namespace {

std::size_t index(int value) { return static_cast<std::size_t>(value); }

/// counts[r]: how often rank r's contribution is in it.
using Contributions = std::vector<int>;

struct Frame {
  Stage stage = Stage::partial;
  int layer = 0;
  int encoder = 0;
  Contributions contributions;
};

struct Slot {
  Frame frame;
  bool received = false;
  bool used = false;
};

/// One rank's view of one chunk.
struct Holding {
  Contributions sum;
  std::map<int, Slot> slots;
  std::optional<Contributions> result;
  std::vector<int> encoders;  ///< of the frames that make up the result
  int encodes = 0;
  int partial_sends = 0;
  int finishes = 0;
};

/// A transfer on its way: one frame per chunk of the run.
struct Message {
  Step step;
  std::vector<Frame> frames;
};

class SymbolicRun {
 public:
  explicit SymbolicRun(const Schedule& schedule)
      : schedule_(schedule), layered_(schedule.layers > 1), next_(index(schedule.ranks), 0) {
    for (int rank = 0; rank < schedule.ranks; ++rank) {
      auto& chunks = holdings_.emplace_back(index(schedule.chunk_count));
      for (Holding& holding : chunks) {
        holding.sum.assign(index(schedule.ranks), 0);
        holding.sum[index(rank)] = 1;
      }
    }
  }

  Violations run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int rank = 0; rank < schedule_.ranks; ++rank) {
        while (advance(rank)) moved = true;
      }
    }
    for (int rank = 0; rank < schedule_.ranks; ++rank) {
      if (!done(rank)) report(rank, current(rank), "waits for ever");
    }
    for (const auto& [pair, queue] : queues_) {
      if (!queue.empty()) report(pair.first, queue.front().step, "is never received");
    }
    for (int chunk = 0; chunk < schedule_.chunk_count; ++chunk) {
      for (int rank = 0; rank < schedule_.ranks; ++rank) judge(rank, chunk);
    }
    return std::move(violations_);
  }

 private:
  [[nodiscard]] bool done(int rank) const {
    return next_[index(rank)] == schedule_.steps[index(rank)].size();
  }
  [[nodiscard]] const Step& current(int rank) const {
    return schedule_.steps[index(rank)][next_[index(rank)]];
  }
  [[nodiscard]] bool owns(int rank, int chunk) const { return schedule_.owner[index(chunk)] == rank; }

  void report(int rank, const Step& step, std::string_view what) {
    violations_.push_back(fmt::format("{}: {}", describe_step(rank, step), what));
  }

  bool advance(int rank) {
    if (done(rank)) return false;
    const Step& step = current(rank);
    if (step.verb == Verb::recv) {
      auto& queue = queues_[{step.peer, rank}];
      if (queue.empty()) return false;
      receive(rank, step, queue.front());
      queue.pop_front();
    } else {
      Message message{.step = step, .frames = {}};
      for (int chunk = step.chunk_begin; chunk < step.chunk_end; ++chunk) {
        act(rank, step, holdings_[index(rank)][index(chunk)], message);
      }
      if (step.verb == Verb::send) queues_[{rank, step.peer}].push_back(std::move(message));
    }
    ++next_[index(rank)];
    return true;
  }

  void receive(int rank, const Step& step, const Message& message) {
    const Step& sent = message.step;
    if (step.stage == Stage::local && !on_one_host(schedule_.hosts, rank, step.peer))
      report(rank, step, "crosses hosts");
    if (std::tuple(sent.chunk_begin, sent.chunk_end, sent.stage, sent.layer) !=
        std::tuple(step.chunk_begin, step.chunk_end, step.stage, step.layer)) {
      report(rank, step, fmt::format("gets what {} sent", describe_step(step.peer, sent)));
      return;
    }
    for (int chunk = step.chunk_begin; chunk < step.chunk_end; ++chunk) {
      auto& slots = holdings_[index(rank)][index(chunk)].slots;
      const auto held = slots.find(step.slot);
      if (held != slots.end() && !held->second.used) report(rank, step, "overwrites a frame nobody used");
      slots[step.slot] = {.frame = message.frames.at(index(chunk - step.chunk_begin)), .received = true};
    }
  }

  void act(int rank, const Step& step, Holding& holding, Message& message) {
    if (step.verb == Verb::encode) {
      if (++holding.encodes > 1) report(rank, step, "encodes a chunk for the second time");
      holding.slots[step.slot] = {
          .frame = {.stage = step.stage, .layer = step.layer, .encoder = rank, .contributions = holding.sum}};
      return;
    }
    if (step.verb == Verb::finish) {
      if (holding.encodes > 0) report(rank, step, "finishes a sum that has been handed away");
      ++holding.finishes;
      holding.result = holding.sum;
      return;
    }
    const auto held = holding.slots.find(step.slot);
    if (held == holding.slots.end()) {
      report(rank, step, "uses an empty slot");
      message.frames.emplace_back();
      return;
    }
    Slot& slot = held->second;
    slot.used = true;
    if (slot.frame.stage != step.stage || slot.frame.layer != step.layer) {
      report(rank, step, "uses a frame of another stage or layer");
    }
    if (step.verb == Verb::send) {
      if (step.stage != Stage::result) {
        ++holding.partial_sends;
        if (slot.received) report(rank, step, "hands on a partial sum that it did not add to");
      }
      message.frames.push_back(slot.frame);
    } else if (step.verb == Verb::assign || layered_) {
      take_result(step, holding, slot.frame);
    } else {
      if (holding.encodes > 0) report(rank, step, "adds to a sum that has been handed away");
      for (std::size_t r = 0; r < holding.sum.size(); ++r) {
        holding.sum[r] += r < slot.frame.contributions.size() ? slot.frame.contributions[r] : 0;
      }
    }
  }

  static void take_result(const Step& step, Holding& holding, const Frame& frame) {
    if (step.verb == Verb::assign || !holding.result) {
      holding.result = Contributions(holding.sum.size(), 0);
      holding.encoders.clear();
    }
    holding.encoders.push_back(frame.encoder);
    for (std::size_t r = 0; r < frame.contributions.size(); ++r)
      (*holding.result)[r] += frame.contributions[r];
  }

  /// What a finished rank must hold and must have done.
  struct Duty {
    bool result = true;
    int encodes = 1;
    int partial_sends = 0;
    int finishes = 0;
  };

  [[nodiscard]] Duty duty(int rank, int chunk) const {
    const bool owner = owns(rank, chunk);
    if (schedule_.ranks == 1) return {.encodes = 0, .finishes = 1};
    if (layered_) return {};
    switch (schedule_.collective) {
      case Collective::allreduce:
      case Collective::barrier: return {.partial_sends = owner ? 0 : 1};
      case Collective::reduce_scatter:
        return {.result = owner,
                .encodes = owner ? 0 : 1,
                .partial_sends = owner ? 0 : 1,
                .finishes = owner ? 1 : 0};
      case Collective::allgather:
      case Collective::broadcast: return {.encodes = owner ? 1 : 0};
    }
    return {};
  }

  void judge(int rank, int chunk) {
    const Holding& holding = holdings_[index(rank)][index(chunk)];
    const Duty duty = this->duty(rank, chunk);
    const auto compare = [&](int is, int should, std::string_view what) {
      if (is == should) return;
      violations_.push_back(fmt::format("rank {}, chunk {}: {} {}, not {}", rank, chunk, what, is, should));
    };
    compare(holding.encodes, duty.encodes, "encodes");
    compare(holding.partial_sends, duty.partial_sends, "partial sums handed away");
    compare(holding.finishes, duty.finishes, "finishes");
    compare(holding.result.has_value() ? 1 : 0, duty.result ? 1 : 0, "results");
    for (const auto& [slot, held] : holding.slots) {
      if (!held.used)
        violations_.push_back(fmt::format("rank {}, chunk {}: slot {} is never used", rank, chunk, slot));
    }
    if (!holding.result || !duty.result) return;

    const bool gathers =
        schedule_.collective == Collective::allgather || schedule_.collective == Collective::broadcast;
    for (int r = 0; r < schedule_.ranks; ++r) {
      compare((*holding.result)[index(r)], !gathers || owns(r, chunk) ? 1 : 0,
              fmt::format("contributions of rank {}", r));
    }
    std::vector<int> encoders;
    if (layered_) {
      for (int layer = 0; layer < schedule_.layers; ++layer) encoders.push_back(layer);
    } else if (duty.finishes == 0) {
      encoders.push_back(schedule_.owner[index(chunk)]);
    }
    if (holding.encoders != encoders) {
      violations_.push_back(fmt::format(
          "rank {}, chunk {}: the result is not made of the owner's frame, or of all layers in rank order",
          rank, chunk));
    }
  }

  const Schedule& schedule_;
  bool layered_;
  std::vector<std::size_t> next_;               ///< [rank]
  std::vector<std::vector<Holding>> holdings_;  ///< [rank][chunk]
  std::map<std::pair<int, int>, std::deque<Message>> queues_;
  Violations violations_;
};

}  // namespace

std::string describe_step(int rank, const Step& step) {
  return fmt::format("rank {}: {} chunks [{}, {}) layer {} slot {} peer {} round {}", rank,
                     to_string(step.verb), step.chunk_begin, step.chunk_end, step.layer, step.slot, step.peer,
                     step.round);
}

Violations check_contributions(const Schedule& schedule) { return SymbolicRun(schedule).run(); }

Violations check_laws(const Schedule& schedule) {
  Violations all;
  for (Violations violations :
       {check_contributions(schedule), check_matched(schedule), check_order(schedule),
        check_progress(schedule, Buffering::rendezvous), check_progress(schedule, Buffering::one_frame)}) {
    all.insert(all.end(), std::make_move_iterator(violations.begin()),
               std::make_move_iterator(violations.end()));
  }
  return all;
}

std::vector<std::vector<int>> count_sends(const Schedule& schedule) {
  std::vector<std::vector<int>> counts(index(schedule.ranks),
                                       std::vector<int>(index(schedule.chunk_count), 0));
  for (int rank = 0; rank < schedule.ranks; ++rank) {
    for (const Step& step : schedule.steps[index(rank)]) {
      if (step.verb != Verb::send) continue;
      for (int chunk = step.chunk_begin; chunk < step.chunk_end; ++chunk) ++counts[index(rank)][index(chunk)];
    }
  }
  return counts;
}

}  // namespace gradwire::collectives
