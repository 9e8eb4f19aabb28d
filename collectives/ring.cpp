#include "collectives/topology.hpp"

namespace gradwire::collectives {

// Chunk k walks once around: it starts at rank k+1, is complete at its owner k after p-1 hops, and its result
// walks on from there for another p-1. In every round each rank sends one chunk and receives one.
Topology ring_topology(int ranks) {
  const auto size = static_cast<std::size_t>(ranks);
  Topology topology{.ranks = ranks, .chunk_count = ranks, .layers = 1, .chunks = {}};
  topology.chunk_cycle = ranks;
  for (int owner = 0; owner < ranks; ++owner) {
    Tree in{.owner = owner, .parent = std::vector<int>(size, -1), .round = std::vector<int>(size, -1)};
    Tree out = in;
    for (int distance = 1; distance < ranks; ++distance) {
      const int rank = (owner + distance) % ranks;
      const auto r = static_cast<std::size_t>(rank);
      in.parent[r] = (rank + 1) % ranks;
      in.round[r] = distance - 1;
      out.parent[r] = (rank + ranks - 1) % ranks;
      out.round[r] = ranks - 1 + distance - 1;
    }
    topology.chunks.push_back({ChunkTrees{.layer = 0, .in = std::move(in), .out = std::move(out)}});
  }
  return topology;
}

}  // namespace gradwire::collectives
