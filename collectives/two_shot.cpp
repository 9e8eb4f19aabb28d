#include "collectives/topology.hpp"

namespace gradwire::collectives {

// Everybody sends chunk k straight to rank k, which sends the result straight back. The rounds rotate (rank r
// talks to r+1, then to r+2, ...) so that nobody's link is flooded while others idle; no send of the first
// shot waits for a receive.
Topology two_shot_topology(int ranks) {
  Topology topology{.ranks = ranks, .chunk_count = ranks, .layers = 1, .chunks = {}};
  topology.chunk_cycle = ranks;
  for (int owner = 0; owner < ranks; ++owner) {
    Tree in = make_star(ranks, owner);
    Tree out = in;
    for (int distance = 1; distance < ranks; ++distance) {
      in.round[static_cast<std::size_t>((owner - distance + ranks) % ranks)] = distance - 1;
      out.round[static_cast<std::size_t>((owner + distance) % ranks)] = ranks - 1 + distance - 1;
    }
    topology.chunks.push_back({ChunkTrees{.layer = 0, .in = std::move(in), .out = std::move(out)}});
  }
  return topology;
}

}  // namespace gradwire::collectives
