#include <bit>

#include "collectives/topology.hpp"

namespace gradwire::collectives {
namespace {

struct Range {
  int begin = 0;
  int end = 0;
  [[nodiscard]] int size() const { return end - begin; }
};

// A rank's partner in the other half; where that half is smaller by one, the last rank joins the middle
// one's, which spreads the double load over the levels better than either end would.
int partner(int rank, Range from, Range to) {
  const int offset = rank - from.begin;
  return to.begin + (offset < to.size() ? offset : to.size() / 2);
}

// Hands the sums of `owned`'s chunks over from the half that doesn't own them, then splits each half further.
void split(Topology& topology, Range range, int level, int levels) {
  if (range.size() < 2) return;
  const int middle = range.begin + (range.size() + 1) / 2;
  const Range lower{range.begin, middle};
  const Range upper{middle, range.end};
  const auto hand_over = [&](Range owned, Range other) {
    for (int chunk = owned.begin; chunk < owned.end; ++chunk) {
      ChunkTrees& trees = topology.chunks[static_cast<std::size_t>(chunk)].front();
      for (int rank = other.begin; rank < other.end; ++rank) {
        const auto r = static_cast<std::size_t>(rank);
        trees.in.parent[r] = trees.out.parent[r] = partner(rank, other, owned);
        trees.in.round[r] = level;
        trees.out.round[r] = levels + (levels - 1 - level);
      }
    }
  };
  hand_over(lower, upper);
  hand_over(upper, lower);
  split(topology, lower, level + 1, levels);
  split(topology, upper, level + 1, levels);
}

}  // namespace

// Recursive halving on the way in, recursive doubling on the way out, for any number of ranks: ranges split
// into halves that differ by one rank at most. A fold to a power of two would encode some chunks twice on one
// rank.
Topology halving_doubling_topology(int ranks) {
  const auto size = static_cast<std::size_t>(ranks);
  Topology topology{.ranks = ranks, .chunk_count = ranks, .layers = 1, .chunks = {}};
  for (int owner = 0; owner < ranks; ++owner) {
    Tree in{.owner = owner, .parent = std::vector<int>(size, -1), .round = std::vector<int>(size, -1)};
    Tree out = in;
    topology.chunks.push_back({ChunkTrees{.layer = 0, .in = std::move(in), .out = std::move(out)}});
  }
  split(topology, {0, ranks}, 0, static_cast<int>(std::bit_width(static_cast<unsigned>(ranks - 1))));
  return topology;
}

}  // namespace gradwire::collectives
