#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "collectives/layout.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"
#include "wire/header.hpp"

namespace gradwire::collectives {

/// What one rank does with one chunk, as the host executor runs it: receives are merged with what consumes
/// them.
enum class Action : std::uint8_t {
  encode,          ///< running sum -> frame
  send,            ///< the cell's frame may leave for a peer
  receive_add,     ///< a peer's frame is added to the running sum
  receive_assign,  ///< a peer's frame is the result (or the first layer of it)
  receive_keep,    ///< as receive_assign, and the frame is kept because it is forwarded
  add_own,         ///< the cell's own frame is added (layers)
  assign_own,      ///< the cell's own frame is the result, or the first layer of it
  finish,          ///< running sum plus residual is the result
};

struct Instruction {
  Action action = Action::encode;
  Stage stage = Stage::partial;
  std::uint16_t layer = 0;
  std::int32_t peer = -1;
};

/// One (chunk, segment): its instructions run in order; different cells overlap freely.
struct Cell {
  std::uint32_t segment = 0;            ///< in the layout
  std::uint32_t instruction_begin = 0;  ///< in Program::instructions, shared by the segments of a chunk
  std::uint32_t instruction_end = 0;
  std::size_t frame_offset = 0;  ///< of the cell's frame in the executor's frame memory
  /// The frame is the tensor's own memory: an identity codec, one piece, no layers.
  bool alias = false;
};

/// A frame that crosses to or from a peer: the cell and the index of its instruction within the cell.
struct Transfer {
  std::uint32_t cell = 0;
  std::uint32_t instruction = 0;
};

/// What frames take.
struct Volume {
  std::uint64_t payload_bytes = 0;  ///< by the codec's bound
  std::uint64_t frames = 0;

  /// Headers included.
  [[nodiscard]] std::uint64_t wire_bytes() const noexcept {
    return payload_bytes + frames * wire::kHeaderBytes;
  }
  void add(std::uint64_t payload) noexcept {
    payload_bytes += payload;
    ++frames;
  }
};

/// A rank's share of a schedule, laid out over a set of tensors. Immutable.
struct Program {
  int rank = 0;
  int ranks = 1;
  bool layered = false;
  std::vector<Instruction> instructions;
  std::vector<Cell> cells;
  /// Per peer, in list order, which is the order of the frames between the two ranks.
  std::vector<std::vector<Transfer>> sends;
  std::vector<std::vector<Transfer>> receives;
  std::size_t frame_bytes = 0;  ///< memory for frames that do not alias
  Volume sent;                  ///< by one run
  Volume sent_inside;           ///< of that, to ranks of the same host
  Volume sent_plain;            ///< of that, at Stage::local
};

/// Whether a frame may be the tensor's own memory.
enum class FrameMemory : std::uint8_t { in_tensors, apart };

/// Throws Error(unsupported) when a codec of variable size meets segments of several pieces.
Program compile(const Schedule& schedule, const Layout& layout, const compress::Codec& codec, int rank,
                FrameMemory frames = FrameMemory::in_tensors);

}  // namespace gradwire::collectives
