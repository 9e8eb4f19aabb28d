#include <algorithm>
#include <utility>

#include "collectives/topology.hpp"

namespace gradwire::collectives {
namespace {

std::size_t index(int value) { return static_cast<std::size_t>(value); }

/// The ranks of each host, in their order.
std::vector<std::vector<int>> ranks_by_host(std::span<const int> hosts) {
  std::vector<std::vector<int>> ranks(index(*std::ranges::max_element(hosts) + 1));
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    ranks[index(hosts[rank])].push_back(static_cast<int>(rank));
  }
  return ranks;
}

/// The round in which a host's sum of a chunk is due: when it leaves for another host, or, on the owner's,
/// after the last one has come in.
std::vector<int> due_rounds(const Tree& in) {
  std::vector<int> due = in.round;
  due[index(in.owner)] = std::max(0, *std::ranges::max_element(in.round));
  return due;
}

/// The round in which a host gets a chunk's result, or makes it.
std::vector<int> arrival_rounds(const Tree& in, const Tree& out) {
  std::vector<int> arrival = out.round;
  arrival[index(in.owner)] = *std::ranges::max_element(in.round);
  return arrival;
}

}  // namespace

// Every host has a gateway for each stripe of the tensors: its ranks in turn, so that all of a host's ranks
// share the work. Inside a host all hand their part of a stripe to its gateway; gateways do between hosts
// what `between` says, a stripe's gateways among themselves; each hands the result out inside its host.
// Rounds inside rotate as two-shot's do.
Topology hierarchical_topology(const Topology& between, std::span<const int> hosts) {
  const auto ranks_of = ranks_by_host(hosts);
  std::size_t stripes = 1;
  for (const auto& ranks : ranks_of) stripes = std::max(stripes, ranks.size());
  const int delay = static_cast<int>(stripes) - 1;  // what the first exchange inside a host takes

  Topology topology{.ranks = static_cast<int>(hosts.size()),
                    .chunk_count = static_cast<int>(stripes) * between.chunk_count,
                    .layers = 1,
                    .chunks = {},
                    .hosts = {hosts.begin(), hosts.end()}};
  if (equal_host_size(topology.ranks, hosts) > 0) topology.chunk_cycle = between.chunk_cycle;
  const Tree nobody{
      .owner = 0, .parent = std::vector<int>(hosts.size(), -1), .round = std::vector<int>(hosts.size(), -1)};
  for (std::size_t stripe = 0; stripe < stripes; ++stripe) {
    const auto gateway = [&](int host) {
      const auto& ranks = ranks_of[index(host)];
      return ranks[stripe % ranks.size()];
    };
    for (const auto& layers : between.chunks) {
      const ChunkTrees& hops = layers.front();
      ChunkTrees trees{.layer = 0, .in = nobody, .out = nobody};
      trees.in.owner = trees.out.owner = gateway(hops.in.owner);
      const auto due = due_rounds(hops.in);
      const auto arrival = arrival_rounds(hops.in, hops.out);
      for (std::size_t host = 0; host < ranks_of.size(); ++host) {
        const auto& ranks = ranks_of[host];
        const int own = gateway(static_cast<int>(host));
        if (hops.in.parent[host] >= 0) {
          trees.in.parent[index(own)] = gateway(hops.in.parent[host]);
          trees.in.round[index(own)] = hops.in.round[host] + delay;
          trees.out.parent[index(own)] = gateway(hops.out.parent[host]);
          trees.out.round[index(own)] = hops.out.round[host] + delay;
        }
        for (std::size_t distance = 1; distance < ranks.size(); ++distance) {
          const auto turn = static_cast<int>(distance) - 1;
          const auto rank = index(ranks[(stripe + distance) % ranks.size()]);
          trees.in.parent[rank] = trees.out.parent[rank] = own;
          trees.in.round[rank] = due[host] + turn;
          trees.out.round[rank] = arrival[host] + delay + 1 + turn;
        }
      }
      topology.chunks.push_back({std::move(trees)});
    }
  }
  return topology;
}

}  // namespace gradwire::collectives
