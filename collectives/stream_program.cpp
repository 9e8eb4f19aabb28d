#include "collectives/stream_program.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

/// Frames lie on cache lines of their own, each behind its head.
constexpr std::size_t kLine = 64;

/// A step, as far as it concerns one segment.
struct Item {
  const Step* step = nullptr;
  std::uint32_t segment = 0;
};

class StreamCompiler {
 public:
  StreamCompiler(const Schedule& schedule, const Layout& layout, const compress::Codec& codec, int rank)
      : layout_(layout), codec_(codec) {
    program_.rank = rank;
    program_.ranks = schedule.ranks;
    program_.layered = schedule.layers > 1;
    program_.head = codec.lossy() ? kStreamHead : 0;
    for (const Step& step : schedule.steps[static_cast<std::size_t>(rank)]) {
      for (int chunk = step.chunk_begin; chunk < step.chunk_end; ++chunk) {
        const auto c = static_cast<std::size_t>(chunk);
        for (auto s = layout.chunk_segments[c]; s < layout.chunk_segments[c + 1]; ++s) {
          if (layout.segments[s].count > 0) items_.push_back({&step, s});
        }
      }
    }
    find_successors();
    allocate_frames();
  }

  StreamProgram compile() {
    for (std::size_t begin = 0; begin < items_.size();) {
      std::size_t end = begin;
      while (end < items_.size() && items_[end].step->round == items_[begin].step->round) ++end;
      compile_round(begin, end);
      begin = end;
    }
    if (!kernels_.empty()) close_round({});
    auto& words = program_.words;
    std::ranges::sort(words);
    words.erase(std::unique(words.begin(), words.end()), words.end());
    return std::move(program_);
  }

 private:
  /// successor_[i]: the item that follows item i on its segment.
  void find_successors() {
    successor_.assign(items_.size(), items_.size());
    encoded_.assign(items_.size(), false);
    std::map<std::uint32_t, std::size_t> next;
    for (std::size_t i = items_.size(); i-- > 0;) {
      const auto found = next.find(items_[i].segment);
      if (found != next.end()) successor_[i] = found->second;
      next[items_[i].segment] = i;
    }
  }

  [[nodiscard]] std::size_t payload_bytes(const Item& item) const noexcept {
    const Segment& segment = layout_.segments[item.segment];
    return item.step->stage == Stage::local ? sizeof(float) * segment.count : segment.payload_bound;
  }

  /// Its frames are the tensor's own memory.
  [[nodiscard]] bool is_alias(std::uint32_t index) const noexcept {
    const Segment& segment = layout_.segments[index];
    return codec_.identity() && !program_.layered && segment.piece_end - segment.piece_begin == 1;
  }

  /// Of a partial sum, which is used up right after it came.
  [[nodiscard]] bool is_incoming(const Item& item) const noexcept {
    return !program_.layered && item.step->slot == kIncomingSlot;
  }

  /// Room for a payload behind its head.
  static std::size_t reserve(std::size_t& bytes, std::size_t payload) noexcept {
    const std::size_t offset = bytes + kLine;
    bytes = offset + (payload + kLine - 1) / kLine * kLine;
    return offset;
  }

  /// One for each segment and layer: a partial sum has left when the result comes.
  void allocate_frames() {
    std::map<std::pair<std::uint32_t, int>, std::size_t> largest;
    for (const Item& item : items_) {
      if (item.step->verb == Verb::finish || is_incoming(item) || is_alias(item.segment)) continue;
      auto& bytes = largest[{item.segment, item.step->layer}];
      bytes = std::max(bytes, payload_bytes(item));
    }
    for (const auto& [key, bytes] : largest) frames_[key] = reserve(kept_bytes_, bytes);
    program_.frame_bytes = kept_bytes_;
  }

  [[nodiscard]] StreamFrame frame_of(const Item& item) const {
    if (is_alias(item.segment)) return {.in_tensor = true};
    return {.offset = frames_.at({item.segment, item.step->layer})};
  }

  /// What is encoded in a round comes before its transfers, all else after them: a send depends on receives
  /// of earlier rounds only.
  void compile_round(std::size_t begin, std::size_t end) {
    round_bytes_ = kept_bytes_;
    std::vector<StreamStep> transfers;
    std::vector<StreamStep> after;
    for (std::size_t i = begin; i < end; ++i) {
      switch (items_[i].step->verb) {
        case Verb::encode:
          if (!encoded_[i]) kernels_.push_back(encode(i));
          break;
        case Verb::send: transfers.push_back(send(items_[i])); break;
        case Verb::recv: transfers.push_back(receive(items_[i])); break;
        case Verb::add: after.push_back(add(i)); break;
        case Verb::assign: {
          const StreamStep step = make(StreamVerb::assign, items_[i]);
          if (!step.frame.in_tensor) after.push_back(step);
          break;
        }
        case Verb::finish:
          after.push_back({.verb = StreamVerb::finish,
                           .stage = Stage::result,
                           .segment = items_[i].segment,
                           .frame = {}});
          break;
      }
    }
    program_.frame_bytes = std::max(program_.frame_bytes, round_bytes_);
    if (!transfers.empty()) close_round(transfers);
    kernels_.insert(kernels_.end(), after.begin(), after.end());
  }

  [[nodiscard]] StreamStep make(StreamVerb verb, const Item& item) const {
    return {.verb = verb,
            .stage = item.step->stage,
            .peer = item.step->peer,
            .segment = item.segment,
            .frame = frame_of(item)};
  }

  StreamStep encode(std::size_t index) {
    const StreamStep step = make(StreamVerb::encode, items_[index]);
    watch(step);
    return step;
  }

  StreamStep send(const Item& item) {
    program_.sent_bytes += program_.head + payload_bytes(item);
    return make(StreamVerb::send, item);
  }

  StreamStep receive(const Item& item) {
    if (is_incoming(item)) {
      const StreamFrame frame{.offset = reserve(round_bytes_, payload_bytes(item))};
      incoming_[item.segment] = frame.offset;
      return {.verb = StreamVerb::receive,
              .stage = item.step->stage,
              .peer = item.step->peer,
              .segment = item.segment,
              .frame = frame};
    }
    const StreamStep step = make(StreamVerb::receive, item);
    watch(step);
    return step;
  }

  /// An add that the encoding of the sum follows is one pass with it, where both are frames of one codec.
  StreamStep add(std::size_t index) {
    const Item& item = items_[index];
    if (!is_incoming(item)) return make(StreamVerb::add, item);
    const std::size_t from = incoming_.at(item.segment);
    const std::size_t next = successor_[index];
    if (next == items_.size() || items_[next].step->verb != Verb::encode ||
        item.step->stage == Stage::local || items_[next].step->stage == Stage::local) {
      return {.verb = StreamVerb::add,
              .stage = item.step->stage,
              .segment = item.segment,
              .frame = {.offset = from}};
    }
    encoded_[next] = true;
    StreamStep step = encode(next);
    step.verb = StreamVerb::add_then_encode;
    step.added = from;
    return step;
  }

  /// Its word will tell.
  void watch(const StreamStep& step) {
    if (program_.head > 0) program_.words.push_back(step.frame.offset - program_.head);
  }

  void close_round(const std::vector<StreamStep>& transfers) {
    auto& steps = program_.steps;
    StreamRound round{.kernels_begin = static_cast<std::uint32_t>(steps.size())};
    steps.insert(steps.end(), kernels_.begin(), kernels_.end());
    round.transfers_begin = static_cast<std::uint32_t>(steps.size());
    steps.insert(steps.end(), transfers.begin(), transfers.end());
    round.end = static_cast<std::uint32_t>(steps.size());
    program_.rounds.push_back(round);
    kernels_.clear();
  }

  const Layout& layout_;
  const compress::Codec& codec_;
  StreamProgram program_;
  std::vector<Item> items_;
  std::vector<std::size_t> successor_;
  std::vector<bool> encoded_;                                    ///< items that the one before does as well
  std::map<std::pair<std::uint32_t, int>, std::size_t> frames_;  ///< (segment, layer) -> offset
  std::size_t kept_bytes_ = 0;                                   ///< of those frames
  std::size_t round_bytes_ = 0;                    ///< with what arrives in a round and is used up
  std::map<std::uint32_t, std::size_t> incoming_;  ///< segment -> offset, of what came last
  std::vector<StreamStep> kernels_;                ///< before the next transfers
};

}  // namespace

Layout lay_out_for_stream(std::span<const std::size_t> counts, const compress::Codec& codec, int chunks) {
  constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max() / 2;
  return make_layout(counts, codec, chunks, kNoLimit);
}

StreamProgram compile_for_stream(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
                                 int rank) {
  if (!codec.fixed_size()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("codec '{}', whose payloads vary in size, on a stream", codec.spec()),
                "use a codec of fixed size, or a communicator of the host");
  }
  return StreamCompiler(schedule, layout, codec, rank).compile();
}

}  // namespace gradwire::collectives
