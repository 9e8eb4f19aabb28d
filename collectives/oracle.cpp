#include "collectives/oracle.hpp"

#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

/// One chunk, encoded piece by piece.
struct ChunkFrame {
  std::vector<std::vector<std::byte>> payloads;  ///< [piece of the chunk]
  Stage stage = Stage::partial;
  bool finite = true;
};

using SharedFrame = std::shared_ptr<const ChunkFrame>;

/// A transfer on its way: one frame per chunk of the run.
struct Message {
  int chunk_begin = 0;
  Stage stage = Stage::partial;
  int layer = 0;
  std::vector<SharedFrame> frames;
};

std::size_t index(int value) { return static_cast<std::size_t>(value); }

bool sums(Collective collective) {
  return collective != Collective::allgather && collective != Collective::broadcast;
}

class Oracle {
 public:
  Oracle(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
         const OracleOptions& options, std::span<RankData> ranks)
      : schedule_(schedule),
        layout_(layout),
        codec_(codec),
        average_(options.average && sums(schedule.collective)),
        layered_(schedule.layers > 1),
        plain_(compress::make_reference_codec("none")),
        ranks_(ranks),
        state_(index(schedule.ranks)) {
    for (RankState& state : state_) state.chunks.resize(index(schedule.chunk_count));
  }

  void run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int rank = 0; rank < schedule_.ranks; ++rank) {
        while (advance(rank)) moved = true;
      }
    }
    for (int rank = 0; rank < schedule_.ranks; ++rank) {
      if (state_[index(rank)].next != schedule_.steps[index(rank)].size()) {
        refuse(fmt::format("rank {} waits for a frame that nobody sends", rank));
      }
    }
  }

 private:
  struct ChunkState {
    std::map<int, SharedFrame> slots;
    bool finite = true;  ///< of the running sum
  };
  struct RankState {
    std::size_t next = 0;
    std::vector<ChunkState> chunks;
  };

  [[noreturn]] static void refuse(const std::string& what) {
    throw Error(ErrorCode::invalid_argument, fmt::format("this schedule cannot run: {}", what),
                "use a schedule made by make_schedule");
  }

  [[nodiscard]] float average_scale() const {
    return average_ ? 1.0F / static_cast<float>(schedule_.ranks) : 1.0F;
  }

  [[nodiscard]] const compress::Codec& codec_of(Stage stage) const {
    return stage == Stage::local ? *plain_ : codec_;
  }

  [[nodiscard]] float encode_scale(Stage stage) const {
    return stage == Stage::result || codec_of(stage).narrow_range() ? average_scale() : 1.0F;
  }

  /// Frames of layers are results: what is added is what they stand for.
  [[nodiscard]] float add_factor(Stage stage) const { return layered_ ? 1.0F : 1.0F / encode_scale(stage); }

  [[nodiscard]] std::span<const Piece> pieces_of(int chunk) const {
    const auto begin = layout_.chunk_segments[index(chunk)];
    const auto end = layout_.chunk_segments[index(chunk) + 1];
    if (begin == end) return {};
    const auto first = layout_.segments[begin].piece_begin;
    return std::span(layout_.pieces).subspan(first, layout_.segments[end - 1].piece_end - first);
  }

  bool advance(int rank) {
    RankState& state = state_[index(rank)];
    const auto& steps = schedule_.steps[index(rank)];
    if (state.next == steps.size()) return false;
    const Step& step = steps[state.next];
    if (step.verb == Verb::recv) {
      if (!receive(rank, step)) return false;
    } else if (step.verb == Verb::send) {
      send(rank, step);
    } else {
      for (int chunk = step.chunk_begin; chunk < step.chunk_end; ++chunk) compute(rank, step, chunk);
    }
    ++state.next;
    return true;
  }

  bool receive(int rank, const Step& step) {
    auto& queue = queues_[{step.peer, rank}];
    if (queue.empty()) return false;
    Message message = std::move(queue.front());
    queue.pop_front();
    if (message.chunk_begin != step.chunk_begin || message.stage != step.stage ||
        message.layer != step.layer || message.frames.size() != index(step.chunk_end - step.chunk_begin)) {
      refuse(fmt::format("rank {} receives something else than rank {} sends", rank, step.peer));
    }
    for (std::size_t i = 0; i < message.frames.size(); ++i) {
      if (!message.frames[i]->finite) ranks_[index(rank)].finite = false;
      state_[index(rank)].chunks[index(step.chunk_begin) + i].slots[step.slot] = std::move(message.frames[i]);
    }
    return true;
  }

  void send(int rank, const Step& step) {
    Message message{.chunk_begin = step.chunk_begin, .stage = step.stage, .layer = step.layer, .frames = {}};
    for (int chunk = step.chunk_begin; chunk < step.chunk_end; ++chunk) {
      message.frames.push_back(held(rank, step, chunk));
    }
    queues_[{rank, step.peer}].push_back(std::move(message));
  }

  SharedFrame held(int rank, const Step& step, int chunk) {
    const auto& slots = state_[index(rank)].chunks[index(chunk)].slots;
    const auto slot = slots.find(step.slot);
    if (slot == slots.end())
      refuse(fmt::format("rank {} uses slot {} of chunk {}, which is empty", rank, step.slot, chunk));
    return slot->second;
  }

  void compute(int rank, const Step& step, int chunk) {
    if (step.verb == Verb::encode) return encode(rank, step, chunk);
    if (step.verb == Verb::finish) return finish(rank, chunk);
    decode(rank, step, chunk);
  }

  void encode(int rank, const Step& step, int chunk) {
    RankData& data = ranks_[index(rank)];
    ChunkState& state = state_[index(rank)].chunks[index(chunk)];
    auto frame = std::make_shared<ChunkFrame>();
    frame->stage = step.stage;
    for (const Piece& piece : pieces_of(chunk)) {
      auto& payload = frame->payloads.emplace_back(codec_of(step.stage).max_payload(piece.count));
      if (step.stage == Stage::local) {
        std::vector<float> plain(piece.count);
        state.finite = spend_residual(data, piece, 1.0F, plain) && state.finite;
        std::memcpy(payload.data(), plain.data(), payload.size());
        continue;
      }
      auto& residual = data.residuals[piece.tensor];
      float* feedback = residual.empty() ? nullptr : residual.data() + piece.begin;
      const compress::Encoded encoded =
          codec_.encode({.value = data.tensors[piece.tensor].data() + piece.begin,
                         .residual = feedback,
                         .residual_out = feedback,
                         .count = piece.count,
                         .scale = encode_scale(step.stage)},
                        payload.data());
      payload.resize(encoded.bytes);
      state.finite = state.finite && encoded.finite;
    }
    frame->finite = state.finite;
    data.finite = data.finite && state.finite;
    state.slots[step.slot] = std::move(frame);
  }

  void decode(int rank, const Step& step, int chunk) {
    RankData& data = ranks_[index(rank)];
    const SharedFrame frame = held(rank, step, chunk);
    std::size_t next = 0;
    for (const Piece& piece : pieces_of(chunk)) {
      float* values = data.tensors[piece.tensor].data() + piece.begin;
      const auto& payload = frame->payloads[next++];
      if (step.verb == Verb::assign) {
        codec_of(frame->stage).decode_assign(payload, values, piece.count);
      } else {
        codec_of(frame->stage).decode_add(payload, values, piece.count, add_factor(frame->stage));
      }
    }
    ChunkState& state = state_[index(rank)].chunks[index(chunk)];
    state.finite = state.finite && frame->finite;
  }

  void finish(int rank, int chunk) {
    RankData& data = ranks_[index(rank)];
    for (const Piece& piece : pieces_of(chunk)) {
      const std::span sum = std::span(data.tensors[piece.tensor]).subspan(piece.begin, piece.count);
      data.finite = spend_residual(data, piece, average_scale(), sum) && data.finite;
    }
  }

  /// The piece's sum plus its residual, which is zero then, but where the sum is not finite; whether all are.
  bool spend_residual(RankData& data, const Piece& piece, float scale, std::span<float> out) const {
    bool finite = true;
    auto& residual = data.residuals[piece.tensor];
    for (std::size_t i = 0; i < piece.count; ++i) {
      float value = data.tensors[piece.tensor][piece.begin + i];
      float* rest = residual.empty() ? nullptr : &residual[piece.begin + i];
      if (rest != nullptr) value += *rest;
      const bool usable = !codec_.lossy() || std::isfinite(value);
      finite = finite && usable;
      out[i] = value * scale;
      if (rest != nullptr && usable) *rest = 0.0F;
    }
    return finite;
  }

  const Schedule& schedule_;
  const Layout& layout_;
  const compress::Codec& codec_;
  bool average_;
  bool layered_;
  std::shared_ptr<const compress::Codec> plain_;  ///< inside a host
  std::span<RankData> ranks_;
  std::vector<RankState> state_;
  std::map<std::pair<int, int>, std::deque<Message>> queues_;
};

}  // namespace

void run_oracle(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
                const OracleOptions& options, std::span<RankData> ranks) {
  if (ranks.size() != index(schedule.ranks)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("data of {} ranks for a schedule of {}", ranks.size(), schedule.ranks),
                "pass one RankData per rank");
  }
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    RankData& data = ranks[rank];
    data.finite = true;
    data.residuals.resize(data.tensors.size());
    const auto refuse_tensor = [&](std::size_t tensor) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("tensor {} of rank {} does not have the size that the layout, or its residual, says",
                      tensor, rank),
          "pass the tensors that the layout was made for on every rank");
    };
    for (const Piece& piece : layout.pieces) {
      if (piece.tensor >= data.tensors.size() ||
          piece.begin + piece.count > data.tensors[piece.tensor].size()) {
        refuse_tensor(piece.tensor);
      }
    }
    for (std::size_t i = 0; i < data.tensors.size(); ++i) {
      if (!data.residuals[i].empty() && data.residuals[i].size() != data.tensors[i].size()) refuse_tensor(i);
    }
  }
  Oracle(schedule, layout, codec, options, ranks).run();
}

}  // namespace gradwire::collectives
