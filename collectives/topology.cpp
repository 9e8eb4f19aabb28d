#include "collectives/topology.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

constexpr std::array kAlgorithms{Algorithm::ring,
                                 Algorithm::two_shot,
                                 Algorithm::tree,
                                 Algorithm::halving_doubling,
                                 Algorithm::one_shot,
                                 Algorithm::hierarchical_ring,
                                 Algorithm::hierarchical_two_shot,
                                 Algorithm::hierarchical_tree,
                                 Algorithm::hierarchical_halving_doubling};

bool are_numbered(std::span<const int> hosts) {
  int known = 0;
  for (const int host : hosts) {
    if (host < 0 || host > known) return false;
    known = std::max(known, host + 1);
  }
  return true;
}

}  // namespace

std::string_view to_string(Algorithm algorithm) noexcept {
  switch (algorithm) {
    case Algorithm::ring: return "ring";
    case Algorithm::two_shot: return "two-shot";
    case Algorithm::tree: return "tree";
    case Algorithm::halving_doubling: return "halving-doubling";
    case Algorithm::one_shot: return "one-shot";
    case Algorithm::hierarchical_ring: return "hierarchical:ring";
    case Algorithm::hierarchical_two_shot: return "hierarchical:two-shot";
    case Algorithm::hierarchical_tree: return "hierarchical:tree";
    case Algorithm::hierarchical_halving_doubling: return "hierarchical:halving-doubling";
  }
  return "unknown";
}

Algorithm parse_algorithm(std::string_view name) {
  std::string names;
  for (const Algorithm algorithm : kAlgorithms) {
    if (to_string(algorithm) == name) return algorithm;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", to_string(algorithm));
  }
  throw Error(ErrorCode::invalid_argument, fmt::format("there is no algorithm '{}'", name),
              fmt::format("use one of {}, hierarchical (which chooses one of its kind), or auto", names));
}

Algorithm between_hosts(Algorithm algorithm) noexcept {
  switch (algorithm) {
    case Algorithm::hierarchical_ring: return Algorithm::ring;
    case Algorithm::hierarchical_two_shot: return Algorithm::two_shot;
    case Algorithm::hierarchical_tree: return Algorithm::tree;
    case Algorithm::hierarchical_halving_doubling: return Algorithm::halving_doubling;
    default: return algorithm;
  }
}

std::span<const Algorithm> all_algorithms() noexcept { return kAlgorithms; }

void check_hosts(int ranks, std::span<const int> hosts) {
  if (hosts.empty() || (hosts.size() == static_cast<std::size_t>(ranks) && are_numbered(hosts))) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{} numbers of hosts for {} ranks, or numbers out of order", hosts.size(), ranks),
              "number the hosts from 0 in the order of their first ranks, and give each rank's host");
}

int equal_host_size(int ranks, std::span<const int> hosts) noexcept {
  if (hosts.empty()) return 1;
  const auto size = static_cast<int>(std::ranges::count(hosts, 0));
  if (size == 0 || ranks % size != 0) return 0;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    if (hosts[rank] != static_cast<int>(rank) / size) return 0;
  }
  return size;
}

Topology make_topology(Algorithm algorithm, int ranks, std::span<const int> hosts) {
  if (ranks < 1) {
    throw Error(ErrorCode::invalid_argument, fmt::format("a topology of {} ranks was asked for", ranks),
                "use at least one rank");
  }
  check_hosts(ranks, hosts);
  if (is_hierarchical(algorithm)) {
    std::vector<int> alone(hosts.empty() ? static_cast<std::size_t>(ranks) : 0);
    std::iota(alone.begin(), alone.end(), 0);
    if (hosts.empty()) hosts = alone;
    return hierarchical_topology(
        make_topology(between_hosts(algorithm), *std::ranges::max_element(hosts) + 1), hosts);
  }
  switch (algorithm) {
    case Algorithm::ring: return ring_topology(ranks);
    case Algorithm::two_shot: return two_shot_topology(ranks);
    case Algorithm::tree: return tree_topology(ranks);
    case Algorithm::halving_doubling: return halving_doubling_topology(ranks);
    case Algorithm::one_shot: return one_shot_topology(ranks);
    default: break;
  }
  throw Error(ErrorCode::invalid_argument, "an algorithm outside its enumeration was asked for",
              "use one of all_algorithms()");
}

Tree make_star(int ranks, int owner) {
  Tree tree{.owner = owner,
            .parent = std::vector<int>(static_cast<std::size_t>(ranks), owner),
            .round = std::vector<int>(static_cast<std::size_t>(ranks), -1)};
  tree.parent[static_cast<std::size_t>(owner)] = -1;
  return tree;
}

}  // namespace gradwire::collectives
