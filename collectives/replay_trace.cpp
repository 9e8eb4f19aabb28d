#include "collectives/replay_trace.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace gradwire::collectives {
namespace {

/// Receives that are posted before the one that is waited for, so that its frame need not wait for the rank.
/// A frame flows once its receive is posted, and SimGrid gives all that flow a share of the link, those of
/// one stream too, which in truth follow each other: with more, the first of a stream comes with its last.
constexpr std::size_t kPostedAhead = 4;

std::size_t index(int number) { return static_cast<std::size_t>(number); }

/// A step on one segment.
struct SegmentStep {
  const Step* step = nullptr;
  std::uint32_t segment = 0;
  int turn = 0;
  int tag = 0;  ///< of a send or recv: which frame it is between the two ranks
};

/// A rank's steps on every segment. A segment is a round behind the one before it, which leaves the steps of
/// each in their order, and the frames between two ranks in the same order at both ends.
std::vector<SegmentStep> segment_steps(const Schedule& schedule, const Layout& layout, int rank) {
  std::vector<SegmentStep> all;
  for (const Step& step : schedule.steps[index(rank)]) {
    const auto begin = layout.chunk_segments[index(step.chunk_begin)];
    const auto end = layout.chunk_segments[index(step.chunk_end)];
    for (auto segment = begin; segment < end; ++segment) {
      const int turn = step.round + static_cast<int>(layout.segments[segment].index);
      all.push_back({.step = &step, .segment = segment, .turn = turn});
    }
  }
  std::ranges::stable_sort(all, {}, &SegmentStep::turn);
  std::vector<int> sent(index(schedule.ranks));
  std::vector<int> received(index(schedule.ranks));
  for (SegmentStep& now : all) {
    if (now.step->verb == Verb::send) now.tag = sent[index(now.step->peer)]++;
    if (now.step->verb == Verb::recv) now.tag = received[index(now.step->peer)]++;
  }
  return all;
}

class TraceWriter {
 public:
  TraceWriter(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
              const Cluster& cluster, double flops, int rank)
      : layout_(layout),
        work_times_(cluster, codec),
        frame_time_(cluster.frame_time),
        flops_(flops),
        rank_(rank),
        layered_(schedule.layers > 1),
        alias_(codec.identity() && !layered_),
        cells_(layout.segments.size()) {}

  std::string write(const std::vector<SegmentStep>& all) {
    std::vector<std::uint32_t> touched;
    for (const SegmentStep& now : all) {
      if (cells_[now.segment].steps.empty()) touched.push_back(now.segment);
      cells_[now.segment].steps.push_back(&now);
      if (now.step->verb == Verb::recv) receives_.push_back(&now);
    }
    line("init");
    post_receives(kPostedAhead);
    for (const auto segment : touched) advance(segment);
    for (std::size_t waited = 0; waited < receives_.size(); ++waited) {
      const SegmentStep& now = *receives_[waited];
      flush_work();
      line(fmt::format("wait {} {} {}", now.step->peer, rank_, now.tag));
      post_receives(waited + 1 + kPostedAhead);
      work(frame_time_);
      ++cells_[now.segment].next;
      advance(now.segment);
    }
    flush_work();
    line("waitall");
    line("finalize");
    return std::move(text_);
  }

 private:
  struct Cell {
    std::vector<const SegmentStep*> steps;
    std::size_t next = 0;
  };

  /// Up to the cell's next receive, as the executor does: what can be sent is sent before anything is waited
  /// for.
  void advance(std::uint32_t segment) {
    Cell& cell = cells_[segment];
    for (; cell.next < cell.steps.size(); ++cell.next) {
      const SegmentStep& now = *cell.steps[cell.next];
      const Verb verb = now.step->verb;
      if (verb == Verb::recv) return;
      if (verb == Verb::send) {
        work(frame_time_);
        flush_work();
        line(fmt::format("isend {} {} {}", now.step->peer, now.tag, bytes(now)));
        continue;
      }
      const bool received = cell.next > 0 && cell.steps[cell.next - 1]->step->verb == Verb::recv;
      const bool fused = verb == Verb::add && now.step->stage != Stage::local && !alias_ && !layered_ &&
                         cell.next + 1 < cell.steps.size() &&
                         cell.steps[cell.next + 1]->step->verb == Verb::encode;
      if (fused) continue;  // one pass adds and encodes
      work(work_times_.of(action(*now.step, received), now.step->stage, layout_.segments[segment].count,
                          alias_));
    }
  }

  [[nodiscard]] Action action(const Step& step, bool received) const {
    switch (step.verb) {
      case Verb::encode: return Action::encode;
      case Verb::finish: return Action::finish;
      case Verb::add: return Action::receive_add;
      default: return received || layered_ ? Action::receive_assign : Action::assign_own;
    }
  }

  void post_receives(std::size_t end) {
    for (; posted_ < std::min(end, receives_.size()); ++posted_) {
      const SegmentStep& now = *receives_[posted_];
      line(fmt::format("irecv {} {} {}", now.step->peer, now.tag, bytes(now)));
    }
  }

  [[nodiscard]] std::uint64_t bytes(const SegmentStep& now) const {
    const Segment& segment = layout_.segments[now.segment];
    Volume volume;
    volume.add(now.step->stage == Stage::local ? sizeof(float) * segment.count : segment.payload_bound);
    return volume.wire_bytes();
  }

  void work(double seconds) { pending_ += seconds * flops_; }
  void flush_work() {
    if (pending_ >= 0.5) line(fmt::format("compute {:.0f}", pending_));
    pending_ = 0;
  }
  void line(std::string_view what) { fmt::format_to(std::back_inserter(text_), "{} {}\n", rank_, what); }

  const Layout& layout_;
  WorkTimes work_times_;
  double frame_time_;
  double flops_;
  int rank_;
  bool layered_;
  bool alias_;
  std::vector<Cell> cells_;
  std::vector<const SegmentStep*> receives_;  ///< in the order in which they are waited for
  std::size_t posted_ = 0;                    ///< of those
  double pending_ = 0;                        ///< operations not yet written
  std::string text_;
};

}  // namespace

std::string replay_trace(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
                         const Cluster& cluster, double flops, int rank) {
  TraceWriter writer(schedule, layout, codec, cluster, flops, rank);
  return writer.write(segment_steps(schedule, layout, rank));
}

}  // namespace gradwire::collectives
