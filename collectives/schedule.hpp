#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "collectives/topology.hpp"

namespace gradwire::collectives {

enum class Collective { allreduce, reduce_scatter, allgather, broadcast, barrier };
std::string_view to_string(Collective collective) noexcept;  ///< "allreduce", "reduce-scatter", ...
/// Throws Error(invalid_argument) listing the names.
Collective parse_collective(std::string_view name);

enum class Verb : std::uint8_t {
  encode,  ///< encode the running sum plus my residual into the slot; the residual becomes what that lost
  send,    ///< post the slot's frame to a peer, byte for byte
  recv,    ///< a peer's frame lands in the slot
  add,     ///< decode the slot and add it to the running sum
  assign,  ///< decode the slot; that is the result (in a layered schedule: the first term of it)
  finish,  ///< running sum plus residual is the result; the residual becomes zero
};

std::string_view to_string(Verb verb) noexcept;  ///< "encode", ...

/// Whether a frame is a partial sum on its way in or a result on its way out. Averaging divides when a result
/// is encoded.
enum class Stage : std::uint8_t {
  partial,
  result,
  local,  ///< a partial sum that does not leave its host: float32 as it is, whatever the codec
};
std::string_view to_string(Stage stage) noexcept;  ///< "partial", "result", "local"

struct Step {
  Verb verb = Verb::encode;
  Stage stage = Stage::partial;
  int chunk_begin = 0;  ///< a run of chunks [begin, end)
  int chunk_end = 0;
  int peer = -1;  ///< send, recv
  int slot = 0;   ///< numbers frames held at once by this rank for one chunk
  int layer = 0;
  int round = 0;

  friend bool operator==(const Step&, const Step&) = default;
};

// Slots, where there are no layers. With layers a frame's slot is its layer.
inline constexpr int kPartialSlot = 0;  ///< this rank's partial sum on its way to its parent
inline constexpr int kResultSlot = 1;   ///< the result: encoded here by the owner, received by everybody else
inline constexpr int kIncomingSlot = 2;  ///< a child's partial sum, used up by the step after its recv

/// Ranks [begin, end).
struct RankRange {
  int begin = 0;
  int end = std::numeric_limits<int>::max();

  [[nodiscard]] bool contains(int rank) const noexcept { return rank >= begin && rank < end; }
};

/// What each rank does, in list order: steps on one (chunk, segment) run in that order, all others may
/// overlap, the list order being their priority. No sizes, no codecs, no I/O.
///
/// What interpreters may rely on:
/// - Transfers stand in every list in the order of one global key (round, parity of the source, source,
///   destination), and a send of round t depends on receives of earlier rounds only. So the frames between
///   two ranks have the same order in both lists.
/// - A run of several chunks is one with consecutive numbers that one transfer carries; encode and add steps
///   follow its cut.
/// - The steps of one chunk on one rank, without layers:
///     allreduce, not the owner: [recv add]* encode(partial or local) send, recv(result) assign send*
///     allreduce, the owner:     [recv add]+ encode(result) send+ assign of its own frame
///     reduce-scatter:           the same up to the first send; the owner ends with finish
///     allgather, broadcast:     encode(result) send+ assign on the owner, recv assign send* elsewhere
///   Each add or assign of a received frame directly follows its recv. Nothing is added after the rank's only
///   encode.
/// - With layers: encode(result) send* recv* in key order, and at the end of the list assign of layer 0, add
///   of layers 1..p-1, the rank's own among them, from its slot.
/// - One rank alone: a single finish.
struct Schedule {
  Collective collective = Collective::allreduce;
  int ranks = 1;
  int chunk_count = 1;
  int layers = 1;
  std::vector<int> owner;                ///< [chunk]; for one-shot 0
  std::vector<int> hosts{};              ///< [rank], or empty: each rank has a host of its own
  int chunk_cycle = 0;                   ///< the topology's
  RankRange listed{};                    ///< whose steps are known
  std::vector<std::vector<Step>> steps;  ///< [rank]
};

/// Lowers trees to steps. Transfers are ordered by (round, parity of the source, source, destination), which
/// is free of deadlock even with blocking sends. Only ranks of `listed` get lists: those of all would fill
/// the memory of a rank that runs its own, one among a thousand.
Schedule lower(const Topology& topology, Collective collective, RankRange listed = {});

/// The largest number of transfers that make_schedule lists (a ring of 1024 ranks has about 2^21).
inline constexpr std::size_t kMaxTransfers = std::size_t{1} << 21U;
/// Throws Error(unsupported) where `collective` cannot be done by `algorithm`: reduce_scatter and allgather
/// need one chunk for each rank (ring, two-shot, halving-doubling).
void check_supported(Collective collective, Algorithm algorithm);
/// How many a schedule has, as make_schedule counts them (of one-shot, twice as many).
std::size_t count_transfers(Collective collective, Algorithm algorithm, int ranks,
                            std::span<const int> hosts = {});

/// The schedule of `collective` by `algorithm`. broadcast and barrier use a binomial tree from `root`
/// (barrier: in and out of rank 0) whatever the algorithm. Throws what check_supported does, and
/// Error(unsupported) for more than kMaxTransfers. ranks >= 1, a root among them, and `hosts` as in Schedule,
/// else Error(invalid_argument).
Schedule make_schedule(Collective collective, Algorithm algorithm, int ranks, int root = 0,
                       std::span<const int> hosts = {}, RankRange listed = {});

/// The default, a pure function so that all ranks agree. `payload_bytes` is the whole tensor's, encoded.
/// `hosts` counts only where several ranks share one of several: every rank of a host goes by its one link.
/// allreduce: one-shot while (p-1) * payload_bytes * ranks of a host <= 8 KiB, then what choose_hierarchical
/// says where hosts are shared, else the same among ranks. reduce-scatter, allgather: two-shot for lossy
/// codecs and for payloads up to 64 KiB, up to 32 ranks, ring for the rest. broadcast, barrier: a tree, which
/// is always the binomial one.
Algorithm choose_algorithm(Collective collective, std::size_t payload_bytes, bool lossy, int ranks,
                           int hosts) noexcept;

/// What "hierarchical" stands for: between h hosts of s ranks, p in all, the tree where payload_bytes / p is
/// under 256 s bytes (but with s = 1 only for h > 64) and where a two-shot would be too long to list; else
/// two-shot for lossy codecs and for chunks, payload_bytes / h, up to 32 KiB; ring for the rest.
Algorithm choose_hierarchical(std::size_t payload_bytes, bool lossy, int ranks, int hosts) noexcept;

}  // namespace gradwire::collectives
