#include "collectives/host_executor.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "compress/convert.hpp"
#include "compress/finish.hpp"
#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

std::byte* elements(const Tensor& tensor, std::size_t begin) noexcept {
  return static_cast<std::byte*>(tensor.data) + begin * size_of(tensor.dtype);
}

}  // namespace

HostExecutor::HostExecutor(bool average, Program program, Layout layout,
                           std::shared_ptr<const compress::Codec> codec)
    : average_(average),
      program_(std::move(program)),
      layout_(std::move(layout)),
      codec_(std::move(codec)),
      frames_(program_.frame_bytes + 64),
      cells_(program_.cells.size()),
      peers_(static_cast<std::size_t>(program_.ranks)) {}

void HostExecutor::start(std::span<const Buffer> buffers, const wire::Header& prototype,
                         std::uint32_t chunk_base) {
  buffers_ = buffers;
  prototype_ = prototype;
  prototype_.codec = static_cast<std::uint8_t>(codec_->id());
  chunk_base_ = chunk_base;
  std::fill(cells_.begin(), cells_.end(), CellState{});
  std::fill(peers_.begin(), peers_.end(), PeerState{});
  cells_left_ = cells_.size();
  sends_left_ = program_.frames;
  non_finite_ = false;
  if (program_.ranks == 1) {
    for (std::uint32_t index = 0; index < cells_.size(); ++index) advance(index);
  }
}

bool HostExecutor::receives_done(int peer) const noexcept {
  const auto p = static_cast<std::size_t>(peer);
  return peers_[p].received == program_.receives[p].size();
}

bool HostExecutor::sends_posted(int peer) const noexcept {
  const auto p = static_cast<std::size_t>(peer);
  return peers_[p].posted == program_.sends[p].size();
}

bool HostExecutor::pump_receives(int peer, Channel& channel) {
  const auto p = static_cast<std::size_t>(peer);
  PeerState& state = peers_[p];
  const auto& receives = program_.receives[p];
  bool moved = false;
  while (state.received < receives.size()) {
    const transport::Frame* frame = channel.link->front();
    if (frame == nullptr) break;
    const auto [index, awaiting] = receives[state.received];
    const Cell& cell = program_.cells[index];
    CellState& cell_state = cells_[index];
    channel.seen = std::uint64_t{frame->header.operation} + 1;
    check(frame->header, cell, awaiting, peer);
    if (cell_state.next < awaiting) advance(index);
    if (cell_state.next != awaiting) break;
    // Results land where a partial sum may still be on its way out.
    const bool overwrites = cell.alias || instruction(cell, awaiting).action == Action::receive_keep;
    if (overwrites && cell_state.outstanding > 0) break;
    check_payload(frame->payload, cell, peer);
    consume(index, *frame);
    channel.link->pop();
    ++state.received;
    advance(index);
    moved = true;
  }
  return moved;
}

bool HostExecutor::pump_sends(int peer, Channel& channel) {
  const auto p = static_cast<std::size_t>(peer);
  PeerState& state = peers_[p];
  const auto& sends = program_.sends[p];
  bool moved = false;
  while (state.posted < sends.size()) {
    const auto [index, at] = sends[state.posted];
    const Cell& cell = program_.cells[index];
    CellState& cell_state = cells_[index];
    if (cell_state.next <= at) advance(index);
    if (cell_state.next <= at) break;
    const std::span<const std::byte> payload(frame_of(cell), cell_state.frame_bytes);
    if (!channel.link->try_send(header_of(cell, cell_state, at), payload)) break;
    if (state.posted == 0) state.base = channel.posted;
    ++state.posted;
    ++channel.posted;
    moved = true;
  }
  reap(peer, channel);
  return moved;
}

void HostExecutor::reap(int peer, Channel& channel) {
  const auto p = static_cast<std::size_t>(peer);
  PeerState& state = peers_[p];
  if (state.reaped == state.posted) return;
  const std::uint64_t completed = channel.link->completed();
  while (state.reaped < state.posted && state.base + state.reaped < completed) {
    --cells_[program_.sends[p][state.reaped].cell].outstanding;
    ++state.reaped;
    --sends_left_;
  }
}

/// Runs the cell up to its next receive, or to its end.
void HostExecutor::advance(std::uint32_t index) {
  const Cell& cell = program_.cells[index];
  CellState& state = cells_[index];
  const std::uint32_t end = cell.instruction_end - cell.instruction_begin;
  load(cell, state);
  while (state.next < end) {
    const Instruction& now = instruction(cell, state.next);
    switch (now.action) {
      case Action::receive_add:
      case Action::receive_assign:
      case Action::receive_keep: return;
      case Action::send: ++state.outstanding; break;
      case Action::encode: encode(cell, state, now.stage); break;
      case Action::add_own:
      case Action::assign_own:
        if (!cell.alias) {
          decode(cell, {frame_of(cell), state.frame_bytes}, now.action == Action::add_own, 1.0F);
        }
        break;
      case Action::finish: finish(cell, state); break;
    }
    ++state.next;
    if (state.next == end) complete(cell, state);
  }
}

void HostExecutor::consume(std::uint32_t index, const transport::Frame& frame) {
  const Cell& cell = program_.cells[index];
  CellState& state = cells_[index];
  const Instruction& now = instruction(cell, state.next);
  const std::uint32_t end = cell.instruction_end - cell.instruction_begin;
  load(cell, state);
  note(state, (frame.header.flags & wire::kFlagNonFinite) != 0);
  switch (now.action) {
    case Action::receive_add:
      if (!cell.alias && state.next + 1 < end && instruction(cell, state.next + 1).action == Action::encode) {
        add_then_encode(cell, state, frame);
        ++state.next;  // past the add; the encode is passed below
      } else {
        decode(cell, frame.payload, true, program_.layered ? 1.0F : 1.0F / encode_scale(Stage::partial));
      }
      break;
    case Action::receive_keep:
      if (!cell.alias) std::copy(frame.payload.begin(), frame.payload.end(), frame_of(cell));
      state.frame_bytes = static_cast<std::uint32_t>(frame.payload.size());
      decode(cell, frame.payload, false, 1.0F);
      break;
    default: decode(cell, frame.payload, false, 1.0F); break;
  }
  ++state.next;
  if (state.next == end) complete(cell, state);
}

/// 16-bit tensors are summed in float32 scratch.
void HostExecutor::load(const Cell& cell, CellState& state) {
  if (state.loaded) return;
  state.loaded = true;
  for (const Piece& piece : pieces_of(cell)) {
    const Buffer& buffer = buffers_[piece.tensor];
    if (buffer.tensor.dtype == DType::float32) continue;
    compress::to_float32(buffer.tensor.dtype, elements(buffer.tensor, piece.begin), buffer.work + piece.begin,
                         piece.count);
  }
}

/// A partial sum that has left is nobody's result: what it would be in 16 bits says nothing.
void HostExecutor::complete(const Cell& cell, CellState& state) {
  --cells_left_;
  const Instruction& last = program_.instructions[cell.instruction_end - 1];
  if (last.action == Action::send && last.stage == Stage::partial) return;
  bool fits = true;
  for (const Piece& piece : pieces_of(cell)) {
    const Buffer& buffer = buffers_[piece.tensor];
    if (buffer.tensor.dtype == DType::float32) continue;
    fits = compress::from_float32(buffer.tensor.dtype, buffer.work + piece.begin,
                                  elements(buffer.tensor, piece.begin), piece.count) &&
           fits;
  }
  note(state, !fits && codec_->lossy());
}

float HostExecutor::encode_scale(Stage stage) const noexcept {
  const bool scaled = average_ && (stage == Stage::result || codec_->narrow_range());
  return scaled ? 1.0F / static_cast<float>(program_.ranks) : 1.0F;
}

compress::Encode HostExecutor::encode_of(const Piece& piece, float scale) const noexcept {
  const Buffer& buffer = buffers_[piece.tensor];
  return {.value = buffer.work + piece.begin,
          .residual = buffer.residual != nullptr ? buffer.residual + piece.begin : nullptr,
          .residual_out = buffer.next_residual != nullptr ? buffer.next_residual + piece.begin : nullptr,
          .count = piece.count,
          .scale = scale};
}

void HostExecutor::encode(const Cell& cell, CellState& state, Stage stage) {
  std::byte* frame = frame_of(cell);
  std::size_t bytes = 0;
  bool finite = true;
  for (const Piece& piece : pieces_of(cell)) {
    const compress::Encoded encoded = codec_->encode(encode_of(piece, encode_scale(stage)), frame + bytes);
    bytes += encoded.bytes;
    finite = finite && encoded.finite;
  }
  state.frame_bytes = static_cast<std::uint32_t>(bytes);
  note(state, !finite);
}

void HostExecutor::add_then_encode(const Cell& cell, CellState& state, const transport::Frame& frame) {
  const Stage stage = instruction(cell, state.next + 1).stage;
  const float factor = 1.0F / encode_scale(Stage::partial);
  std::span<const std::byte> payload = frame.payload;
  std::byte* out = frame_of(cell);
  std::size_t bytes = 0;
  bool finite = true;
  const auto pieces = pieces_of(cell);
  for (const Piece& piece : pieces) {
    const compress::Encode in = encode_of(piece, encode_scale(stage));
    const std::size_t length = pieces.size() == 1 ? payload.size() : codec_->max_payload(piece.count);
    const compress::Encoded encoded = codec_->add_then_encode(payload.first(length), factor, in, out + bytes);
    payload = payload.subspan(length);
    bytes += encoded.bytes;
    finite = finite && encoded.finite;
  }
  state.frame_bytes = static_cast<std::uint32_t>(bytes);
  note(state, !finite);
}

void HostExecutor::decode(const Cell& cell, std::span<const std::byte> payload, bool add, float factor) {
  const auto pieces = pieces_of(cell);
  for (const Piece& piece : pieces) {
    const std::size_t length = pieces.size() == 1 ? payload.size() : codec_->max_payload(piece.count);
    float* out = buffers_[piece.tensor].work + piece.begin;
    if (add) {
      codec_->decode_add(payload.first(length), out, piece.count, factor);
    } else {
      codec_->decode_assign(payload.first(length), out, piece.count);
    }
    payload = payload.subspan(length);
  }
}

void HostExecutor::finish(const Cell& cell, CellState& state) {
  bool finite = true;
  for (const Piece& piece : pieces_of(cell)) {
    float* value = buffers_[piece.tensor].work + piece.begin;
    finite =
        compress::finish_sum(encode_of(piece, encode_scale(Stage::result)), value, codec_->lossy()) && finite;
  }
  note(state, !finite);
}

std::byte* HostExecutor::frame_of(const Cell& cell) {
  if (!cell.alias) return frames_.data() + cell.frame_offset;
  const Piece& piece = pieces_of(cell).front();
  return reinterpret_cast<std::byte*>(buffers_[piece.tensor].work + piece.begin);
}

std::span<const Piece> HostExecutor::pieces_of(const Cell& cell) const {
  const Segment& segment = layout_.segments[cell.segment];
  return {layout_.pieces.data() + segment.piece_begin, layout_.pieces.data() + segment.piece_end};
}

void HostExecutor::note(CellState& state, bool non_finite) noexcept {
  state.non_finite = state.non_finite || non_finite;
  non_finite_ = non_finite_ || non_finite;
}

wire::Header HostExecutor::header_of(const Cell& cell, const CellState& state, std::uint32_t index) const {
  const Segment& segment = layout_.segments[cell.segment];
  wire::Header header = prototype_;
  header.dtype = static_cast<std::uint8_t>(buffers_[pieces_of(cell).front().tensor].tensor.dtype);
  header.flags = state.non_finite ? wire::kFlagNonFinite : 0;
  header.layer = instruction(cell, index).layer;
  header.chunk = chunk_base_ + segment.chunk;
  header.segment = segment.index;
  header.count = static_cast<std::uint32_t>(segment.count);
  return header;
}

void HostExecutor::check(const wire::Header& header, const Cell& cell, std::uint32_t index, int peer) const {
  if (header.operation != prototype_.operation || header.order_hash != prototype_.order_hash) {
    throw Error(
        ErrorCode::order_mismatch,
        fmt::format(
            "rank {} runs another operation than this rank ({}): its frame belongs to operation {} with hash "
            "{:016x}, codec {}, dtype {}, {} elements, expected is operation {} with hash {:016x}, codec {}",
            peer, program_.rank, header.operation, header.order_hash, header.codec,
            to_string(static_cast<DType>(header.dtype)), header.count, prototype_.operation,
            prototype_.order_hash, codec_->spec()),
        "submit the same operations with the same sizes, dtypes and codecs in the same order on every rank",
        peer);
  }
  const Segment& segment = layout_.segments[cell.segment];
  if (header.chunk != chunk_base_ + segment.chunk || header.segment != segment.index ||
      header.count != segment.count || header.codec != prototype_.codec ||
      header.layer != instruction(cell, index).layer || header.sender != static_cast<std::uint32_t>(peer)) {
    throw Error(
        ErrorCode::corrupt_frame,
        fmt::format("rank {} sent chunk {} segment {} ({} elements, codec {}) where chunk {} segment {} "
                    "({} elements, codec {}) was due",
                    peer, header.chunk, header.segment, header.count, header.codec,
                    chunk_base_ + segment.chunk, segment.index, segment.count, prototype_.codec),
        "check that all ranks run the same build of gradwire", peer);
  }
}

void HostExecutor::check_payload(std::span<const std::byte> payload, const Cell& cell, int peer) const {
  const auto pieces = pieces_of(cell);
  bool valid = true;
  std::span<const std::byte> rest = payload;
  for (const Piece& piece : pieces) {
    const std::size_t length = pieces.size() == 1 ? rest.size() : codec_->max_payload(piece.count);
    valid = valid && length <= rest.size() && codec_->valid(rest.first(length), piece.count);
    if (!valid) break;
    rest = rest.subspan(length);
  }
  if (!valid || !rest.empty()) {
    throw Error(ErrorCode::corrupt_frame,
                fmt::format("rank {} sent a payload of {} bytes that {} never writes", peer, payload.size(),
                            codec_->spec()),
                "check the network and that all ranks run the same build of gradwire", peer);
  }
}

}  // namespace gradwire::collectives
