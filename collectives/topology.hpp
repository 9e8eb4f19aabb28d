#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gradwire::collectives {

/// A spanning tree over all ranks with a round for each edge. Towards the owner it is how contributions come
/// in, away from it how the result goes out.
struct Tree {
  int owner = 0;
  /// parent[r] is the next rank on the way to the owner; -1 at the owner, and at ranks that take no part
  /// (one-shot's layers).
  std::vector<int> parent;
  /// round[r] is when the edge between r and parent[r] is used; a rank's send may depend only on receives of
  /// earlier rounds.
  std::vector<int> round;
};

/// Every other rank directly below `owner`; the rounds are -1, for the caller to fill in.
Tree make_star(int ranks, int owner);

/// What happens to one chunk in one layer.
struct ChunkTrees {
  int layer = 0;
  Tree in;
  Tree out;
};

/// Trees for every (chunk, layer). Chunks are numbered 0..chunk_count-1; an algorithm that reduce-scatters
/// has p chunks, chunk k owned by rank k. Rounds are those of an allreduce: a chunk's out-tree comes after
/// its in-tree.
struct Topology {
  int ranks = 1;
  int chunk_count = 1;
  int layers = 1;
  std::vector<std::vector<ChunkTrees>> chunks;  ///< [chunk][layer]
  /// hosts[r] is the number of rank r's host, numbers from 0 in the order of the hosts' first ranks; where
  /// two ranks share one, partial sums between them are not compressed. Empty: no two do, as far as this
  /// matters.
  std::vector<int> hosts{};
  /// Where what one rank does tells what all do: what rank r does with chunk c and layer l, rank r + 1 does
  /// with c + 1 and l + 1, runs of this many chunks being counted round, each for itself. With hosts of as
  /// many ranks each, numbered one host after the other, it is the hosts that do. 0: they differ.
  int chunk_cycle = 0;
};

/// The hierarchical ones do inside a host what needs no link, and between hosts what their names say.
enum class Algorithm {
  ring,
  two_shot,
  tree,
  halving_doubling,
  one_shot,
  hierarchical_ring,
  hierarchical_two_shot,
  hierarchical_tree,
  hierarchical_halving_doubling,
};

/// "ring", "two-shot", "tree", "halving-doubling", "one-shot", "hierarchical:ring", ...
std::string_view to_string(Algorithm algorithm) noexcept;
/// Throws Error(invalid_argument) listing the names. "auto" and "hierarchical" are not algorithms: see
/// choose_algorithm and choose_hierarchical.
Algorithm parse_algorithm(std::string_view name);
std::span<const Algorithm> all_algorithms() noexcept;
/// What it does between hosts: "ring" for "hierarchical:ring", and itself for those that know no hosts.
Algorithm between_hosts(Algorithm algorithm) noexcept;
inline bool is_hierarchical(Algorithm algorithm) noexcept { return between_hosts(algorithm) != algorithm; }

// One pure function per file.
Topology ring_topology(int ranks);
Topology two_shot_topology(int ranks);
Topology tree_topology(int ranks);
Topology halving_doubling_topology(int ranks);
Topology one_shot_topology(int ranks);
/// `between`, a topology without layers whose ranks are hosts, with the ranks of each host put below.
Topology hierarchical_topology(const Topology& between, std::span<const int> hosts);
/// A binomial tree from or to `root`: what broadcast and barrier use whatever the algorithm.
Topology binomial_topology(int ranks, int root);

/// Throws Error(invalid_argument) unless `hosts` is empty (each rank has a host of its own) or numbers the
/// hosts of `ranks` ranks as Topology does.
void check_hosts(int ranks, std::span<const int> hosts);
/// Whether two ranks share a host; with no `hosts` none do.
[[nodiscard]] inline bool on_one_host(std::span<const int> hosts, int one, int other) noexcept {
  return !hosts.empty() && hosts[static_cast<std::size_t>(one)] == hosts[static_cast<std::size_t>(other)];
}
/// How many ranks each host has, when all have as many and stand one host after the other (each rank its
/// own: 1); 0 otherwise.
int equal_host_size(int ranks, std::span<const int> hosts) noexcept;

/// Throws what check_hosts does.
Topology make_topology(Algorithm algorithm, int ranks, std::span<const int> hosts = {});

}  // namespace gradwire::collectives
