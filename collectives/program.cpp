#include "collectives/program.hpp"

#include <algorithm>
#include <cassert>
#include <map>
#include <utility>

#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

constexpr int kOwn = -1;

std::size_t plain_payload(const Segment& segment) { return sizeof(float) * segment.count; }

/// Builds the instructions of one chunk from the steps that touch it.
struct ChunkBuilder {
  std::vector<Instruction> instructions;
  std::map<int, int> slot_origin;          ///< slot -> peer that it comes from, or kOwn
  std::map<int, std::size_t> awaited;      ///< slot -> index into the peer's receives, not yet consumed
  std::map<int, std::size_t> consumed_by;  ///< slot -> instruction that took it from the peer
  bool encodes_plain = false;              ///< at Stage::local
  int kept_unassigned = 0;  ///< frames taken early for forwarding whose `assign` step has not come yet
};

/// A transfer of a whole chunk, before it is cut into segments.
struct ChunkTransfer {
  int chunk = 0;
  std::size_t instruction = 0;
};

class Compiler {
 public:
  Compiler(const Schedule& schedule, int rank)
      : hosts_(schedule.hosts),
        rank_(rank),
        chunks_(static_cast<std::size_t>(schedule.chunk_count)),
        sends_(static_cast<std::size_t>(schedule.ranks)),
        receives_(static_cast<std::size_t>(schedule.ranks)) {
    for (const Step& step : schedule.steps[static_cast<std::size_t>(rank)]) {
      for (int chunk = step.chunk_begin; chunk < step.chunk_end; ++chunk) take(step, chunk);
    }
    for (const ChunkBuilder& builder : chunks_) {
      if (builder.kept_unassigned != 0 || !builder.awaited.empty()) {
        throw Error(ErrorCode::invalid_argument, "a schedule receives a frame that it never adds or assigns",
                    "make schedules with make_schedule()");
      }
    }
  }

  Program lay_out(const Layout& layout, const compress::Codec& codec, bool layered, FrameMemory frames) {
    Program program;
    program.layered = layered;
    std::vector<std::uint32_t> first_cell;
    for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
      const auto begin = static_cast<std::uint32_t>(program.instructions.size());
      const auto& instructions = chunks_[chunk].instructions;
      program.instructions.insert(program.instructions.end(), instructions.begin(), instructions.end());
      first_cell.push_back(static_cast<std::uint32_t>(program.cells.size()));
      for (auto s = layout.chunk_segments[chunk]; s < layout.chunk_segments[chunk + 1]; ++s) {
        const Segment& segment = layout.segments[s];
        const auto pieces = segment.piece_end - segment.piece_begin;
        if (!codec.fixed_size() && pieces > 1) {
          throw Error(ErrorCode::unsupported, "a codec of variable size over several tensors at once",
                      "give each tensor an operation of its own, or use a codec of fixed size");
        }
        Cell cell{.segment = s,
                  .instruction_begin = begin,
                  .instruction_end = static_cast<std::uint32_t>(program.instructions.size()),
                  .frame_offset = program.frame_bytes,
                  .alias = frames == FrameMemory::in_tensors && codec.identity() && !layered && pieces == 1};
        // Frames start on cache lines of their own: the executor's memory for them does.
        const std::size_t bytes = chunks_[chunk].encodes_plain
                                      ? std::max(segment.payload_bound, plain_payload(segment))
                                      : segment.payload_bound;
        if (!cell.alias) program.frame_bytes += (bytes + 63) / 64 * 64;
        program.cells.push_back(cell);
      }
    }
    first_cell.push_back(static_cast<std::uint32_t>(program.cells.size()));

    const auto expand = [&](const std::vector<ChunkTransfer>& from, std::vector<Transfer>& to) {
      for (const auto& [chunk, instruction] : from) {
        const auto c = static_cast<std::size_t>(chunk);
        for (auto cell = first_cell[c]; cell < first_cell[c + 1]; ++cell) {
          to.push_back({cell, static_cast<std::uint32_t>(instruction)});
        }
      }
    };
    program.sends.resize(sends_.size());
    program.receives.resize(receives_.size());
    for (std::size_t peer = 0; peer < sends_.size(); ++peer) {
      expand(sends_[peer], program.sends[peer]);
      expand(receives_[peer], program.receives[peer]);
      const bool inside = on_one_host(hosts_, rank_, static_cast<int>(peer));
      for (const auto& transfer : program.sends[peer]) {
        const Cell& cell = program.cells[transfer.cell];
        const Segment& segment = layout.segments[cell.segment];
        const Instruction& send = program.instructions[cell.instruction_begin + transfer.instruction];
        const bool plain = send.stage == Stage::local;
        const std::size_t payload = plain ? plain_payload(segment) : segment.payload_bound;
        program.sent.add(payload);
        if (inside) program.sent_inside.add(payload);
        if (plain) program.sent_plain.add(payload);
      }
    }
    return program;
  }

 private:
  void take(const Step& step, int chunk) {
    ChunkBuilder& builder = chunks_[static_cast<std::size_t>(chunk)];
    const auto append = [&](Action action, int peer) {
      builder.instructions.push_back({action, step.stage, static_cast<std::uint16_t>(step.layer), peer});
      return builder.instructions.size() - 1;
    };
    switch (step.verb) {
      case Verb::encode:
        builder.slot_origin[step.slot] = kOwn;
        builder.encodes_plain = step.stage == Stage::local;
        append(Action::encode, -1);
        break;
      case Verb::recv: {
        builder.slot_origin[step.slot] = step.peer;
        auto& receives = receives_[static_cast<std::size_t>(step.peer)];
        builder.awaited[step.slot] = receives.size();
        receives.push_back({chunk, 0});
        break;
      }
      case Verb::send:
        if (builder.slot_origin.at(step.slot) != kOwn) keep(builder, step);
        sends_[static_cast<std::size_t>(step.peer)].push_back({chunk, append(Action::send, step.peer)});
        break;
      case Verb::add:
      case Verb::assign: {
        const bool add = step.verb == Verb::add;
        const int origin = builder.slot_origin.at(step.slot);
        if (origin == kOwn) {
          append(add ? Action::add_own : Action::assign_own, -1);
        } else if (builder.awaited.contains(step.slot)) {
          consume(builder, step, append(add ? Action::receive_add : Action::receive_assign, origin));
        } else {
          --builder.kept_unassigned;  // a forward has taken the frame already, and assigned it
        }
        break;
      }
      case Verb::finish: append(Action::finish, -1); break;
    }
  }

  /// A frame that is forwarded is assigned at once and kept, so that nothing waits in the transport's queue.
  void keep(ChunkBuilder& builder, const Step& send) {
    const int origin = builder.slot_origin.at(send.slot);
    if (builder.awaited.contains(send.slot)) {
      builder.instructions.push_back(
          {Action::receive_keep, send.stage, static_cast<std::uint16_t>(send.layer), origin});
      consume(builder, send, builder.instructions.size() - 1);
      ++builder.kept_unassigned;
    } else {
      Instruction& taken = builder.instructions[builder.consumed_by.at(send.slot)];
      assert(taken.action != Action::receive_add);
      taken.action = Action::receive_keep;
    }
  }

  void consume(ChunkBuilder& builder, const Step& step, std::size_t instruction) {
    const auto origin = static_cast<std::size_t>(builder.slot_origin.at(step.slot));
    receives_[origin][builder.awaited.at(step.slot)].instruction = instruction;
    builder.awaited.erase(step.slot);
    builder.consumed_by[step.slot] = instruction;
  }

  const std::vector<int>& hosts_;  ///< of the schedule
  int rank_;
  std::vector<ChunkBuilder> chunks_;
  std::vector<std::vector<ChunkTransfer>> sends_;     ///< [peer]
  std::vector<std::vector<ChunkTransfer>> receives_;  ///< [peer]
};

}  // namespace

Program compile(const Schedule& schedule, const Layout& layout, const compress::Codec& codec, int rank,
                FrameMemory frames) {
  Program program = Compiler(schedule, rank).lay_out(layout, codec, schedule.layers > 1, frames);
  program.rank = rank;
  program.ranks = schedule.ranks;
  return program;
}

}  // namespace gradwire::collectives
