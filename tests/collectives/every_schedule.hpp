#pragma once

#include <ostream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "collectives/schedule.hpp"
#include "tests/support/every_algorithm.hpp"

namespace gradwire::collectives::testing {

/// A schedule to test, by name.
struct Case {
  Collective collective = Collective::allreduce;
  Algorithm algorithm = Algorithm::ring;

  [[nodiscard]] Schedule schedule(int ranks, int root = 0) const {
    return make_schedule(collective, algorithm, ranks, root, ragged_hosts(ranks));
  }
  [[nodiscard]] std::string name() const {
    return fmt::format("{} by {}", to_string(collective), to_string(algorithm));
  }
  friend std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name(); }
};

/// All that make_schedule accepts; the binomial collectives once.
inline std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (const Algorithm algorithm : all_algorithms()) {
    cases.push_back({Collective::allreduce, algorithm});
  }
  for (const Algorithm algorithm : reduce_scatter_algorithms()) {
    cases.push_back({Collective::reduce_scatter, algorithm});
    cases.push_back({Collective::allgather, algorithm});
  }
  cases.push_back({Collective::broadcast, Algorithm::tree});
  cases.push_back({Collective::barrier, Algorithm::tree});
  return cases;
}

}  // namespace gradwire::collectives::testing
