#include "collectives/stream_executor.hpp"

#include <cstdint>
#include <utility>
#include <vector>

namespace gradwire::collectives {

StreamExecutor::StreamExecutor(bool average, StreamProgram program, Layout layout,
                               const compress::Codec& codec, transport::StreamLinks& links)
    : average_(average),
      program_(std::move(program)),
      layout_(std::move(layout)),
      kernels_(compress::make_device_codec(codec.spec())),
      plain_kernels_(compress::make_device_codec("none")),
      links_(links),
      frames_(compress::allocate_device(program_.frame_bytes)),
      words_(compress::allocate_device(sizeof(std::uint64_t) * program_.words.size())) {
  const std::vector<std::uint64_t> words(program_.words.begin(), program_.words.end());
  const compress::OwnStream stream;
  compress::copy_on(stream.get(), words_.get(), words.data(), sizeof(std::uint64_t) * words.size());
  // No word is raised before a run raises it, and gathering them clears them.
  compress::fill_on(stream.get(), frames_.get(), std::byte{}, program_.frame_bytes);
  stream.wait();
}

void StreamExecutor::enqueue(std::span<const Buffer> buffers, compress::Stream stream,
                             const compress::NonFiniteFlag& flag, bool& has_begun) {
  const Run run{buffers, stream, flag};
  for (const StreamRound& round : program_.rounds) {
    for (auto i = round.kernels_begin; i < round.transfers_begin; ++i) {
      has_begun = true;
      put_kernels(program_.steps[i], run);
    }
    if (round.transfers_begin == round.end) continue;
    links_.begin_group();
    for (auto i = round.transfers_begin; i < round.end; ++i) {
      put_transfer(program_.steps[i], run);
      has_begun = true;
    }
    links_.end_group();
  }
  flag.gather_on(stream, frames_.get(), reinterpret_cast<const std::uint64_t*>(words_.get()),
                 program_.words.size());
}

void StreamExecutor::put_kernels(const StreamStep& step, const Run& run) const {
  if (step.verb == StreamVerb::encode || step.verb == StreamVerb::add_then_encode) {
    encode(step, run);
    return;
  }
  const compress::DeviceCodec& codec = kernels(step.stage);
  const float scale = encoding_scale(average_, program_.ranks, step.stage, codec.host());
  const std::byte* from = step.verb == StreamVerb::finish ? nullptr : payload(step, run);
  for (const Piece& piece : pieces(step)) {
    const Buffer& buffer = run.buffers[piece.tensor];
    float* const sum = buffer.work + piece.begin;
    switch (step.verb) {
      case StreamVerb::add:
        codec.decode_add(from, sum, piece.count, program_.layered ? 1.0F : 1.0F / scale, run.stream);
        break;
      case StreamVerb::assign: codec.decode_assign(from, sum, piece.count, run.stream); break;
      default:
        compress::finish_sum_on_device(sum_of(buffer, piece, scale), sum, codec.host().lossy(),
                                       {run.stream, run.flag.word()});
        break;
    }
    if (from != nullptr) from += codec.host().max_payload(piece.count);
  }
}

void StreamExecutor::encode(const StreamStep& step, const Run& run) const {
  const compress::DeviceCodec& codec = kernels(step.stage);
  const float scale = encoding_scale(average_, program_.ranks, step.stage, codec.host());
  const float factor = 1.0F / encoding_scale(average_, program_.ranks, Stage::partial, codec.host());
  std::byte* to = payload(step, run);
  const std::byte* added = frames_.get() + step.added;
  const compress::Launch launch{run.stream, reinterpret_cast<std::uint32_t*>(to - program_.head)};
  for (const Piece& piece : pieces(step)) {
    const compress::Encode sum = sum_of(run.buffers[piece.tensor], piece, scale);
    if (step.verb == StreamVerb::add_then_encode) {
      codec.add_then_encode(added, factor, sum, to, launch);
    } else if (step.stage == Stage::local && this->codec().lossy()) {
      compress::finish_sum_on_device(sum, reinterpret_cast<float*>(to), true, launch);
    } else {
      codec.encode(sum, to, launch);
    }
    to += codec.host().max_payload(piece.count);
    added += codec.host().max_payload(piece.count);
  }
}

void StreamExecutor::put_transfer(const StreamStep& step, const Run& run) {
  std::byte* const frame = payload(step, run) - program_.head;
  const std::size_t bytes = program_.head + payload_bytes(step);
  if (step.verb == StreamVerb::send) {
    links_.send(step.peer, frame, bytes, run.stream);
  } else {
    links_.receive(step.peer, frame, bytes, run.stream);
  }
}

std::span<const Piece> StreamExecutor::pieces(const StreamStep& step) const noexcept {
  const Segment& segment = layout_.segments[step.segment];
  return {layout_.pieces.data() + segment.piece_begin, layout_.pieces.data() + segment.piece_end};
}

std::byte* StreamExecutor::payload(const StreamStep& step, const Run& run) const noexcept {
  if (!step.frame.in_tensor) return frames_.get() + step.frame.offset;
  const Piece& piece = pieces(step).front();
  return reinterpret_cast<std::byte*>(run.buffers[piece.tensor].work + piece.begin);
}

std::size_t StreamExecutor::payload_bytes(const StreamStep& step) const noexcept {
  std::size_t bytes = 0;
  for (const Piece& piece : pieces(step)) bytes += kernels(step.stage).host().max_payload(piece.count);
  return bytes;
}

}  // namespace gradwire::collectives
