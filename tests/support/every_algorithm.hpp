#pragma once

#include <algorithm>
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
    if (make_topology(algorithm, 3).chunk_count == 3) algorithms.push_back(algorithm);
  }
  return algorithms;
}

/// What a test that is instantiated with this name may be called.
inline std::string identifier(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace gradwire
