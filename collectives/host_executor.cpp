#include "collectives/host_executor.hpp"

#include <algorithm>
#include <utility>

#include "collectives/frame_check.hpp"

namespace gradwire::collectives {

HostExecutor::HostExecutor(bool average, Program program, Layout layout,
                           std::shared_ptr<const compress::Codec> codec)
    : program_(std::move(program)),
      arithmetic_(average, program_.ranks, program_.layered, std::move(layout), std::move(codec)),
      frames_(program_.frame_bytes),
      cells_(program_.cells.size()),
      peers_(static_cast<std::size_t>(program_.ranks)) {}

void HostExecutor::start(std::span<const Buffer> buffers, const wire::Header& prototype,
                         std::uint32_t chunk_base) {
  arithmetic_.lend(buffers);
  prototype_ = prototype;
  chunk_base_ = chunk_base;
  std::fill(cells_.begin(), cells_.end(), CellState{});
  std::fill(peers_.begin(), peers_.end(), PeerState{});
  cells_left_ = cells_.size();
  sends_left_ = program_.sent.frames;
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
    if (!state.front_checked) {
      wire::Header due = header_of(cell, awaiting);
      due.sender = static_cast<std::uint32_t>(peer);
      check_header(frame->header, due, program_.rank, arithmetic_.codec(instruction(cell, awaiting).stage));
      state.front_checked = true;
    }
    if (cell_state.next < awaiting) advance(index);
    if (cell_state.next != awaiting) break;
    // Results land where a partial sum may still be on its way out.
    const bool overwrites = cell.alias || instruction(cell, awaiting).action == Action::receive_keep;
    if (overwrites && cell_state.outstanding > 0) break;
    check_payload(frame->payload, arithmetic_.pieces(segment_of(cell)),
                  arithmetic_.codec(instruction(cell, awaiting).stage), peer);
    consume(index, *frame);
    channel.link->pop();
    ++state.received;
    state.front_checked = false;
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
    wire::Header header = header_of(cell, at);
    header.flags = cell_state.non_finite ? wire::kFlagNonFinite : 0;
    if (!channel.link->try_send(header, payload)) break;
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
  const Segment& segment = segment_of(cell);
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
      case Action::encode: encoded(state, arithmetic_.encode(segment, now.stage, frame_of(cell))); break;
      case Action::add_own: arithmetic_.add(segment, {frame_of(cell), state.frame_bytes}, now.stage); break;
      case Action::assign_own:
        if (!cell.alias) arithmetic_.assign(segment, {frame_of(cell), state.frame_bytes});
        break;
      case Action::finish: note(state, !arithmetic_.finish(segment)); break;
    }
    ++state.next;
    if (state.next == end) complete(cell, state);
  }
}

/// Whether adding and then encoding is one pass, with frames of one codec.
bool HostExecutor::can_fuse(const Cell& cell, const Instruction& add, const Instruction& next) noexcept {
  return !cell.alias && add.stage != Stage::local && next.action == Action::encode &&
         next.stage != Stage::local;
}

void HostExecutor::consume(std::uint32_t index, const transport::Frame& frame) {
  const Cell& cell = program_.cells[index];
  const Segment& segment = segment_of(cell);
  CellState& state = cells_[index];
  const Instruction& now = instruction(cell, state.next);
  const std::uint32_t end = cell.instruction_end - cell.instruction_begin;
  load(cell, state);
  note(state, (frame.header.flags & wire::kFlagNonFinite) != 0);
  switch (now.action) {
    case Action::receive_add:
      if (state.next + 1 < end && can_fuse(cell, now, instruction(cell, state.next + 1))) {
        ++state.next;  // past the add; the encode is passed below
        const Stage stage = instruction(cell, state.next).stage;
        encoded(state, arithmetic_.add_then_encode(segment, frame.payload, stage, frame_of(cell)));
      } else {
        arithmetic_.add(segment, frame.payload, now.stage);
      }
      break;
    case Action::receive_keep:
      if (!cell.alias) std::copy(frame.payload.begin(), frame.payload.end(), frame_of(cell));
      state.frame_bytes = static_cast<std::uint32_t>(frame.payload.size());
      arithmetic_.assign(segment, frame.payload);
      break;
    default: arithmetic_.assign(segment, frame.payload); break;
  }
  ++state.next;
  if (state.next == end) complete(cell, state);
}

void HostExecutor::load(const Cell& cell, CellState& state) {
  if (state.loaded) return;
  state.loaded = true;
  arithmetic_.load(segment_of(cell));
}

/// A partial sum that has left is nobody's result: what it would be in 16 bits says nothing.
void HostExecutor::complete(const Cell& cell, CellState& state) {
  --cells_left_;
  const Instruction& last = program_.instructions[cell.instruction_end - 1];
  if (last.action == Action::send && last.stage != Stage::result) return;
  note(state, !arithmetic_.store(segment_of(cell)));
}

std::byte* HostExecutor::frame_of(const Cell& cell) {
  return cell.alias ? arithmetic_.memory(segment_of(cell)) : frames_.data() + cell.frame_offset;
}

void HostExecutor::encoded(CellState& state, const compress::Encoded& result) noexcept {
  state.frame_bytes = static_cast<std::uint32_t>(result.bytes);
  note(state, !result.finite);
}

void HostExecutor::note(CellState& state, bool non_finite) noexcept {
  state.non_finite = state.non_finite || non_finite;
  non_finite_ = non_finite_ || non_finite;
}

wire::Header HostExecutor::header_of(const Cell& cell, std::uint32_t index) const {
  const Segment& segment = segment_of(cell);
  wire::Header header = prototype_;
  header.dtype = static_cast<std::uint8_t>(arithmetic_.dtype(segment));
  header.codec = static_cast<std::uint8_t>(arithmetic_.codec(instruction(cell, index).stage).id());
  header.layer = instruction(cell, index).layer;
  header.chunk = chunk_base_ + segment.chunk;
  header.segment = segment.index;
  header.count = static_cast<std::uint32_t>(segment.count);
  return header;
}

}  // namespace gradwire::collectives
