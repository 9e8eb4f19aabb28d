#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "collectives/cost_model.hpp"
#include "collectives/resolve.hpp"
#include "collectives/topology.hpp"
#include "model_clusters.hpp"
#include "tests/support/quick.hpp"

// What `auto` takes is never much slower than the best, as the cost model prices them.

namespace gradwire::collectives {
namespace {

constexpr Collective kAllreduce = Collective::allreduce;
constexpr double kMostTimesTheBest = 2;

std::vector<Algorithm> all_for(bool shared) {
  if (!shared) {
    return {Algorithm::one_shot, Algorithm::ring, Algorithm::two_shot, Algorithm::tree,
            Algorithm::halving_doubling};
  }
  return {Algorithm::one_shot,
          Algorithm::ring,
          Algorithm::tree,
          Algorithm::hierarchical_ring,
          Algorithm::hierarchical_two_shot,
          Algorithm::hierarchical_tree,
          Algorithm::hierarchical_halving_doubling};
}

void expect_nearly_the_best(const char* spec, std::size_t bytes, int ranks, int each) {
  const auto codec = compress::make_codec(spec);
  const std::vector<std::size_t> counts{bytes / sizeof(float)};
  const auto hosts = equal_hosts(ranks, each);
  const auto seconds = [&](Algorithm algorithm) {
    return price(kAllreduce, algorithm, *codec, counts.front(), ranks, hosts, Cluster{}).seconds;
  };
  double best = std::numeric_limits<double>::infinity();
  for (const Algorithm algorithm : all_for(each > 1)) best = std::min(best, seconds(algorithm));
  const Algorithm taken = resolve_algorithm(kAllreduce, "auto", *codec, counts, ranks, hosts);
  EXPECT_LE(seconds(taken), kMostTimesTheBest * best) << to_string(taken) << " of " << ranks << " ranks, "
                                                      << each << " a host, " << bytes << " bytes, " << spec;
}

TEST(Auto, IsNearlyTheBest) {
  for (const char* codec : {"none", "onebit"}) {
    for (std::size_t bytes = std::size_t{16} << 10U; bytes <= std::size_t{4} << 20U; bytes *= 4) {
      for (const int hosts : {4, 16, 96}) {
        if (quick() && hosts > 4) continue;
        expect_nearly_the_best(codec, bytes, hosts, 1);
        for (const int each : {2, 8}) expect_nearly_the_best(codec, bytes, std::min(hosts, 32) * each, each);
      }
    }
  }
}

}  // namespace
}  // namespace gradwire::collectives
