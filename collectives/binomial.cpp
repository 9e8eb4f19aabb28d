#include <bit>

#include "collectives/topology.hpp"

namespace gradwire::collectives {

// With ranks counted from the root, rank v hangs below v with its lowest set bit cleared. On the way in bit t
// is cleared in round t; the way out is the mirror.
Topology binomial_topology(int ranks, int root) {
  const auto size = static_cast<std::size_t>(ranks);
  const auto rounds = static_cast<int>(std::bit_width(static_cast<unsigned>(ranks - 1)));
  Tree in{.owner = root, .parent = std::vector<int>(size, -1), .round = std::vector<int>(size, -1)};
  Tree out = in;
  for (int v = 1; v < ranks; ++v) {
    const auto unsigned_v = static_cast<unsigned>(v);
    const auto r = static_cast<std::size_t>((v + root) % ranks);
    const int bit = std::countr_zero(unsigned_v);
    in.parent[r] = (static_cast<int>(unsigned_v & (unsigned_v - 1)) + root) % ranks;
    in.round[r] = bit;
    out.parent[r] = in.parent[r];
    out.round[r] = rounds + (rounds - 1 - bit);
  }
  Topology topology{.ranks = ranks, .chunk_count = 1, .layers = 1, .chunks = {}};
  topology.chunks.push_back({ChunkTrees{.layer = 0, .in = std::move(in), .out = std::move(out)}});
  return topology;
}

}  // namespace gradwire::collectives
