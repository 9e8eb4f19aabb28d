#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "collectives/layout.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"

namespace gradwire::collectives {

enum class StreamVerb : std::uint8_t {
  encode,           ///< running sum -> frame
  add_then_encode,  ///< a received frame is added, and the sum encoded without being stored
  add,              ///< a received frame, or with layers one's own, is added to the running sum
  assign,           ///< a frame is the result (or the first layer of it)
  finish,           ///< running sum plus residual is the result
  send,             ///< a frame leaves for a peer
  receive,          ///< a peer's frame lands
};

/// Where a frame's payload lies: in the tensor itself, or in the executor's memory.
struct StreamFrame {
  bool in_tensor = false;
  std::size_t offset = 0;  ///< of the payload in the executor's memory
};

/// One kernel for each piece of a segment, or one send or receive.
struct StreamStep {
  StreamVerb verb = StreamVerb::encode;
  Stage stage = Stage::partial;  ///< of the frame that is made, sent, received or decoded
  std::int32_t peer = -1;
  std::uint32_t segment = 0;  ///< in the layout
  StreamFrame frame;
  std::size_t added = 0;  ///< add_then_encode: offset of the payload that is added
};

/// Kernels, and then sends and receives that are all under way at once.
struct StreamRound {
  std::uint32_t kernels_begin = 0;  ///< in StreamProgram::steps
  std::uint32_t transfers_begin = 0;
  std::uint32_t end = 0;
};

/// A frame of a lossy codec has a word before its payload that is not 0 where something was not finite, and
/// so much leaves with it: whole, so that payloads stay where kernels have wide accesses.
inline constexpr std::size_t kStreamHead = 16;

/// A rank's share of a schedule as a list without branches, for a stream, where everything is done in the
/// order of the list. All ranks go through the schedule's rounds in the same order and leave out those that
/// they have nothing in: what is sent in one is received in the same one.
struct StreamProgram {
  int rank = 0;
  int ranks = 1;
  bool layered = false;
  std::vector<StreamStep> steps;
  std::vector<StreamRound> rounds;
  std::size_t frame_bytes = 0;  ///< the executor's memory for frames
  std::size_t head = 0;         ///< bytes before each payload that travel with it: kStreamHead or none
  /// Offsets of the words, of all frames whose words tell whether a run met something that is not finite.
  std::vector<std::size_t> words;
  std::uint64_t sent_bytes = 0;  ///< by one run
};

/// One segment for each chunk: on a stream, which does one thing after the other, there is nothing to gain
/// from more.
Layout lay_out_for_stream(std::span<const std::size_t> counts, const compress::Codec& codec, int chunks);

/// Throws Error(unsupported) for a codec of variable size.
StreamProgram compile_for_stream(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
                                 int rank);

}  // namespace gradwire::collectives
