#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <vector>

#include "collectives/topology.hpp"

namespace gradwire {

/// Of every algorithm that there is.
inline std::vector<std::string> algorithm_names() {
  std::vector<std::string> names;
  for (const auto algorithm : collectives::all_algorithms()) names.emplace_back(to_string(algorithm));
  return names;
}

/// Those that leave each rank a part of the result halfway.
inline std::vector<collectives::Algorithm> reduce_scatter_algorithms() {
  std::vector<collectives::Algorithm> algorithms;
  for (const auto algorithm : collectives::all_algorithms()) {
    if (make_topology(algorithm, 3).chunk_count == 3 && !is_hierarchical(algorithm))
      algorithms.push_back(algorithm);
  }
  return algorithms;
}

/// Hosts of three, one and two ranks in turn, as a job gets them that takes what is free.
inline std::vector<int> ragged_hosts(int ranks) {
  std::vector<int> hosts;
  for (int host = 0; static_cast<int>(hosts.size()) < ranks; ++host) {
    const int size = std::array{3, 1, 2}[static_cast<std::size_t>(host % 3)];
    for (int i = 0; i < size && static_cast<int>(hosts.size()) < ranks; ++i) hosts.push_back(host);
  }
  return hosts;
}

/// What a test that is instantiated with this name may be called.
inline std::string identifier(std::string name) {
  std::ranges::replace_if(
      name, [](unsigned char letter) { return std::isalnum(letter) == 0; }, '_');
  return name;
}

}  // namespace gradwire
