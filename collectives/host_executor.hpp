#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "collectives/cell_arithmetic.hpp"
#include "collectives/layout.hpp"
#include "collectives/program.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"
#include "transport/transport.hpp"

namespace gradwire::collectives {

/// The link to a peer, and how many frames this communicator has ever posted on it.
struct Channel {
  transport::Link* link = nullptr;
  std::uint64_t posted = 0;
};

/// Runs one rank's program over links, any number of segments in flight, without blocking and without
/// allocating. The frames between two ranks travel in list order on both sides, so the head of a link's queue
/// is always the next frame to consume: it is decoded in place. Cells encode when their frame is the next
/// one for its link, not before. Why this cannot deadlock: take the first transfer not yet made, in the
/// schedule's order (which is free of deadlock even with blocking sends). All before it in both ranks' lists
/// is done, so its frame is encoded, heads its queue, and its consumer is at it.
///
/// Several executions share the channels: an execution may post to, or take from, a peer only after all
/// earlier ones have posted or taken everything. The caller (runtime::Engine) sees to that.
class HostExecutor {
 public:
  explicit HostExecutor(std::unique_ptr<CellArithmetic> arithmetic);

  /// Begins a run. `prototype` gives communicator, operation, order hash, sender; `chunk_base` numbers the
  /// chunks of several executions of one operation apart. `buffers` stay valid until finished(), one per
  /// tensor of the layout.
  void start(std::span<const Buffer> buffers, const wire::Header& prototype, std::uint32_t chunk_base);

  /// Consumes what has arrived from a peer; true when anything was. Throws Error(order_mismatch,
  /// corrupt_frame, ...).
  bool pump_receives(int peer, Channel& channel);
  /// Posts what is ready for a peer and the link has room for; true when anything was.
  bool pump_sends(int peer, Channel& channel);

  [[nodiscard]] bool receives_done(int peer) const noexcept;
  [[nodiscard]] bool sends_posted(int peer) const noexcept;
  /// Every cell has its result, and no frame is lent to a link any more.
  [[nodiscard]] bool finished() { return cells_left_ == 0 && sends_left_ == 0 && arithmetic_->settled(); }
  /// Of a finished run with a lossy codec: a NaN or infinity was encoded or finished here, a frame that
  /// carries one came by, or a result did not fit into its 16-bit tensor.
  [[nodiscard]] bool non_finite() const noexcept { return non_finite_ || arithmetic_->non_finite(); }
  /// Makes NaNs of a finished run's results and old residuals of its new ones. finished() tells when.
  void void_results() { arithmetic_->void_results(); }
  /// Whether, since this was last asked, something was not posted, consumed or finished that may be when it
  /// is tried again, although nothing arrives at a link.
  [[nodiscard]] bool has_said_no() noexcept { return arithmetic_->has_said_no(); }
  /// Ends a run that will not be finished: afterwards nothing uses its buffers.
  void abandon() noexcept { arithmetic_->abandon(); }

  [[nodiscard]] const Program& program() const noexcept { return arithmetic_->program(); }
  [[nodiscard]] const Layout& layout() const noexcept { return arithmetic_->layout(); }
  [[nodiscard]] const compress::Codec& codec() const noexcept { return arithmetic_->codec(); }

 private:
  struct CellState {
    std::uint32_t next = 0;         ///< instruction within the cell
    std::uint32_t outstanding = 0;  ///< sends passed whose frames are not yet free again
    bool non_finite = false;        ///< a frame said so
    bool loaded = false;            ///< 16-bit elements have been widened
  };
  struct PeerState {
    std::size_t received = 0;
    bool front_checked = false;  ///< the frame after those is the right one, and waits for its cell
    std::size_t posted = 0;
    std::size_t reaped = 0;
    std::uint64_t base = 0;  ///< channel.posted when this run's first frame was posted
  };

  [[nodiscard]] const Cell& cell(std::uint32_t index) const { return program().cells[index]; }
  [[nodiscard]] const Instruction& instruction(const Cell& cell, std::uint32_t index) const {
    return program().instructions[cell.instruction_begin + index];
  }

  void advance(std::uint32_t index);
  void complete(std::uint32_t index);
  void load(std::uint32_t index);
  [[nodiscard]] static bool can_fuse(const Cell& cell, const Instruction& add,
                                     const Instruction& next) noexcept;
  void consume(std::uint32_t index, const transport::Frame& frame);
  void reap(int peer, Channel& channel);
  /// Of a frame of this cell that this rank sends, but for its flags.
  [[nodiscard]] wire::Header header_of(std::uint32_t index, std::uint32_t at) const;

  std::unique_ptr<CellArithmetic> arithmetic_;
  std::vector<CellState> cells_;
  std::vector<PeerState> peers_;

  wire::Header prototype_;
  std::uint32_t chunk_base_ = 0;
  std::size_t cells_left_ = 0;
  std::size_t sends_left_ = 0;
  bool non_finite_ = false;
};

}  // namespace gradwire::collectives
