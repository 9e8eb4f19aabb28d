#include "collectives/topology.hpp"

#include <array>

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

constexpr std::array kAlgorithms{Algorithm::ring, Algorithm::two_shot, Algorithm::tree,
                                 Algorithm::halving_doubling, Algorithm::one_shot};

}  // namespace

std::string_view to_string(Algorithm algorithm) noexcept {
  switch (algorithm) {
    case Algorithm::ring: return "ring";
    case Algorithm::two_shot: return "two-shot";
    case Algorithm::tree: return "tree";
    case Algorithm::halving_doubling: return "halving-doubling";
    case Algorithm::one_shot: return "one-shot";
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
              fmt::format("use one of {}, or auto", names));
}

std::span<const Algorithm> all_algorithms() noexcept { return kAlgorithms; }

Topology make_topology(Algorithm algorithm, int ranks) {
  if (ranks < 1) {
    throw Error(ErrorCode::invalid_argument, fmt::format("a topology of {} ranks was asked for", ranks),
                "use at least one rank");
  }
  switch (algorithm) {
    case Algorithm::ring: return ring_topology(ranks);
    case Algorithm::two_shot: return two_shot_topology(ranks);
    case Algorithm::tree: return tree_topology(ranks);
    case Algorithm::halving_doubling: return halving_doubling_topology(ranks);
    case Algorithm::one_shot: return one_shot_topology(ranks);
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
