#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collectives/topology.hpp"

namespace gradwire::collectives {

enum class Collective { allreduce, reduce_scatter, allgather, broadcast, barrier };
std::string_view to_string(Collective collective) noexcept;  ///< "allreduce", "reduce-scatter", ...

enum class Verb : std::uint8_t {
  encode,  ///< encode the running sum plus my residual into the slot; the residual becomes what that lost
  send,    ///< post the slot's frame to a peer, byte for byte
  recv,    ///< a peer's frame lands in the slot
  add,     ///< decode the slot and add it to the running sum
  assign,  ///< decode the slot; that is the result (in a layered schedule: the first term of it)
  finish,  ///< running sum plus residual is the result; the residual becomes zero
};

/// Whether a frame is a partial sum on its way in or a result on its way out. Averaging divides when a result is encoded.
enum class Stage : std::uint8_t { partial, result };

struct Step {
  Verb verb = Verb::encode;
  Stage stage = Stage::partial;
  int chunk_begin = 0;  ///< a run of chunks [begin, end)
  int chunk_end = 0;
  int peer = -1;        ///< send, recv
  int slot = 0;         ///< numbers frames held at once by this rank for one chunk
  int layer = 0;
  int round = 0;

  friend bool operator==(const Step&, const Step&) = default;
};

/// What each rank does, in list order: steps on one (chunk, segment) run in that order, all others may overlap, the
/// list order being their priority. No sizes, no codecs, no I/O.
struct Schedule {
  Collective collective = Collective::allreduce;
  int ranks = 1;
  int chunk_count = 1;
  int layers = 1;
  std::vector<int> owner;                 ///< [chunk]; for one-shot 0
  std::vector<std::vector<Step>> steps;   ///< [rank]
};

/// Lowers trees to steps. Transfers are ordered by (round, parity of the source, source, destination), which is free of deadlock
/// even with blocking sends.
Schedule lower(const Topology& topology, Collective collective);

/// The schedule of `collective` by `algorithm`. broadcast and barrier use a binomial tree from `root`
/// (barrier: in and out of rank 0) whatever the algorithm. reduce_scatter and allgather need an algorithm with one chunk per rank (ring,
/// two-shot, halving-doubling): others throw Error(unsupported). ranks >= 1, else Error(invalid_argument).
Schedule make_schedule(Collective collective, Algorithm algorithm, int ranks, int root = 0);

/// The default: one-shot for tiny messages, two-shot for lossy codecs up to 32 ranks, ring for the rest.
/// A pure function, so that all ranks agree. `payload_bytes` is the whole tensor's, encoded.
Algorithm choose_algorithm(Collective collective, std::size_t payload_bytes, bool lossy, int ranks) noexcept;

}  // namespace gradwire::collectives
