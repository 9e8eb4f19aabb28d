#include "collectives/topology.hpp"

namespace gradwire::collectives {

// One chunk in p layers: layer r is what rank r contributes, and r sends it to everybody. There is nothing to
// bring in; the sum of the layers in rank order, which every rank forms by itself, is the result.
Topology one_shot_topology(int ranks) {
  const auto size = static_cast<std::size_t>(ranks);
  Topology topology{.ranks = ranks, .chunk_count = 1, .layers = ranks, .chunks = {}};
  topology.chunk_cycle = 1;
  auto& layers = topology.chunks.emplace_back();
  for (int owner = 0; owner < ranks; ++owner) {
    Tree in{.owner = owner, .parent = std::vector<int>(size, -1), .round = std::vector<int>(size, -1)};
    Tree out = make_star(ranks, owner);
    for (int distance = 1; distance < ranks; ++distance) {
      out.round[static_cast<std::size_t>((owner + distance) % ranks)] = distance - 1;
    }
    layers.push_back({.layer = owner, .in = std::move(in), .out = std::move(out)});
  }
  return topology;
}

}  // namespace gradwire::collectives
