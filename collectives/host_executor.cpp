#include "collectives/host_executor.hpp"

#include <algorithm>
#include <utility>

#include "collectives/frame_check.hpp"

namespace gradwire::collectives {

HostExecutor::HostExecutor(std::unique_ptr<CellArithmetic> arithmetic)
    : arithmetic_(std::move(arithmetic)),
      cells_(program().cells.size()),
      peers_(static_cast<std::size_t>(program().ranks)) {}

void HostExecutor::start(std::span<const Buffer> buffers, const wire::Header& prototype,
                         std::uint32_t chunk_base) {
  arithmetic_->start(buffers);
  prototype_ = prototype;
  chunk_base_ = chunk_base;
  std::fill(cells_.begin(), cells_.end(), CellState{});
  std::fill(peers_.begin(), peers_.end(), PeerState{});
  cells_left_ = cells_.size();
  sends_left_ = program().sent.frames;
  non_finite_ = false;
  if (cells_left_ == 0) arithmetic_->end();
  if (program().ranks == 1) {
    for (std::uint32_t index = 0; index < cells_.size(); ++index) advance(index);
  }
}

bool HostExecutor::receives_done(int peer) const noexcept {
  const auto p = static_cast<std::size_t>(peer);
  return peers_[p].received == program().receives[p].size();
}

bool HostExecutor::sends_posted(int peer) const noexcept {
  const auto p = static_cast<std::size_t>(peer);
  return peers_[p].posted == program().sends[p].size();
}

bool HostExecutor::pump_receives(int peer, Channel& channel) {
  const auto p = static_cast<std::size_t>(peer);
  PeerState& state = peers_[p];
  const auto& receives = program().receives[p];
  bool moved = false;
  while (state.received < receives.size()) {
    const transport::Frame* frame = channel.link->front();
    if (frame == nullptr) break;
    const auto [index, awaiting] = receives[state.received];
    const Cell& cell = this->cell(index);
    CellState& cell_state = cells_[index];
    if (!state.front_checked) {
      wire::Header due = header_of(index, awaiting);
      due.sender = static_cast<std::uint32_t>(peer);
      check_header(frame->header, due, program().rank, arithmetic_->codec(instruction(cell, awaiting).stage));
      state.front_checked = true;
    }
    if (cell_state.next < awaiting) advance(index);
    if (cell_state.next != awaiting) break;
    // Results land where a partial sum may still be on its way out.
    const bool overwrites = cell.alias || instruction(cell, awaiting).action == Action::receive_keep;
    if (overwrites && cell_state.outstanding > 0) break;
    if (!arithmetic_->can_take()) break;
    check_payload(frame->payload, arithmetic_->pieces(index),
                  arithmetic_->codec(instruction(cell, awaiting).stage), peer);
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
  const auto& sends = program().sends[p];
  bool moved = false;
  while (state.posted < sends.size()) {
    const auto [index, at] = sends[state.posted];
    const CellState& cell_state = cells_[index];
    if (cell_state.next <= at) advance(index);
    if (cell_state.next <= at || !arithmetic_->frame_ready(index)) break;
    const CellFrame frame = arithmetic_->frame(index);
    wire::Header header = header_of(index, at);
    header.flags = cell_state.non_finite || !frame.finite ? wire::kFlagNonFinite : 0;
    if (!channel.link->try_send(header, frame.payload)) break;
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
    --cells_[program().sends[p][state.reaped].cell].outstanding;
    ++state.reaped;
    --sends_left_;
  }
}

/// Runs the cell up to its next receive, or to its end.
void HostExecutor::advance(std::uint32_t index) {
  const Cell& cell = this->cell(index);
  CellState& state = cells_[index];
  const std::uint32_t end = cell.instruction_end - cell.instruction_begin;
  load(index);
  while (state.next < end) {
    const Instruction& now = instruction(cell, state.next);
    switch (now.action) {
      case Action::receive_add:
      case Action::receive_assign:
      case Action::receive_keep: return;
      case Action::send: ++state.outstanding; break;
      case Action::encode: arithmetic_->encode(index, now.stage); break;
      case Action::add_own: arithmetic_->add_own(index, now.stage); break;
      case Action::assign_own: arithmetic_->assign_own(index); break;
      case Action::finish: arithmetic_->finish(index); break;
    }
    ++state.next;
    if (state.next == end) complete(index);
  }
}

/// Whether adding and then encoding is one pass, with frames of one codec.
bool HostExecutor::can_fuse(const Cell& cell, const Instruction& add, const Instruction& next) noexcept {
  return !cell.alias && add.stage != Stage::local && next.action == Action::encode &&
         next.stage != Stage::local;
}

void HostExecutor::consume(std::uint32_t index, const transport::Frame& frame) {
  const Cell& cell = this->cell(index);
  CellState& state = cells_[index];
  const Instruction& now = instruction(cell, state.next);
  const std::uint32_t end = cell.instruction_end - cell.instruction_begin;
  load(index);
  if ((frame.header.flags & wire::kFlagNonFinite) != 0) state.non_finite = non_finite_ = true;
  switch (now.action) {
    case Action::receive_add:
      if (state.next + 1 < end && can_fuse(cell, now, instruction(cell, state.next + 1))) {
        ++state.next;  // past the add; the encode is passed below
        arithmetic_->add_then_encode(index, frame.payload, instruction(cell, state.next).stage);
      } else {
        arithmetic_->add(index, frame.payload, now.stage);
      }
      break;
    case Action::receive_keep: arithmetic_->keep(index, frame.payload); break;
    default: arithmetic_->assign(index, frame.payload); break;
  }
  ++state.next;
  if (state.next == end) complete(index);
}

void HostExecutor::load(std::uint32_t index) {
  if (std::exchange(cells_[index].loaded, true)) return;
  arithmetic_->load(index);
}

/// A partial sum that has left is nobody's result: what it would be in 16 bits says nothing.
void HostExecutor::complete(std::uint32_t index) {
  const Instruction& last = program().instructions[cell(index).instruction_end - 1];
  if (last.action != Action::send || last.stage == Stage::result) arithmetic_->store(index);
  if (--cells_left_ == 0) arithmetic_->end();
}

wire::Header HostExecutor::header_of(std::uint32_t index, std::uint32_t at) const {
  const Segment& segment = arithmetic_->segment(index);
  const Instruction& of = instruction(cell(index), at);
  wire::Header header = prototype_;
  header.dtype = static_cast<std::uint8_t>(arithmetic_->dtype(index));
  header.codec = static_cast<std::uint8_t>(arithmetic_->codec(of.stage).id());
  header.layer = of.layer;
  header.chunk = chunk_base_ + segment.chunk;
  header.segment = segment.index;
  header.count = static_cast<std::uint32_t>(segment.count);
  return header;
}

}  // namespace gradwire::collectives
