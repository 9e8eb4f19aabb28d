#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "collectives/topology.hpp"
#include "model_clusters.hpp"
#include "tests/support/every_algorithm.hpp"

// Topologies of which one host tells what all do.

namespace gradwire::collectives {
namespace {

/// Whether every host's part of the trees is the next one's, with `each` ranks a host.
void expect_symmetric(const Topology& topology, int hosts, int each) {
  const auto cycle = topology.chunk_cycle;
  for (int step = 1; step < hosts; step *= 2) {
    const auto moved = [&](int value, int unit, int all) {
      return unit == 0 ? value : (value + step * unit) % all;
    };
    for (int chunk = 0; chunk < topology.chunk_count; ++chunk) {
      const int image = chunk - chunk % cycle + moved(chunk % cycle, cycle / hosts, cycle);
      const auto& layers = topology.chunks[static_cast<std::size_t>(chunk)];
      for (int layer = 0; layer < static_cast<int>(layers.size()); ++layer) {
        const int image_layer = moved(layer, topology.layers / hosts, topology.layers);
        const auto& here = layers[static_cast<std::size_t>(layer)];
        const auto& there =
            topology.chunks[static_cast<std::size_t>(image)][static_cast<std::size_t>(image_layer)];
        for (const auto& [tree, twin] : {std::pair{&here.in, &there.in}, std::pair{&here.out, &there.out}}) {
          ASSERT_EQ(twin->owner, moved(tree->owner, each, topology.ranks));
          for (int rank = 0; rank < topology.ranks; ++rank) {
            const auto r = static_cast<std::size_t>(rank);
            const auto t = static_cast<std::size_t>(moved(rank, each, topology.ranks));
            const int parent = tree->parent[r];
            ASSERT_EQ(twin->parent[t], parent < 0 ? -1 : moved(parent, each, topology.ranks));
            ASSERT_EQ(twin->round[t], tree->round[r]);
          }
        }
      }
    }
  }
}

TEST(Symmetry, IsWhatTopologiesSay) {
  int symmetric = 0;
  for (const Algorithm algorithm : all_algorithms()) {
    for (int hosts = 2; hosts <= 17; ++hosts) {
      const int each = is_hierarchical(algorithm) ? 3 : 1;
      SCOPED_TRACE(::testing::Message() << to_string(algorithm) << ", " << hosts << " hosts");
      const auto layout = equal_hosts(hosts * each, each);
      const Topology topology = make_topology(algorithm, hosts * each, layout);
      if (topology.chunk_cycle == 0) continue;
      expect_symmetric(topology, hosts, each);
      ++symmetric;
    }
  }
  EXPECT_EQ(symmetric, 5 * 16);
  const Topology ragged = make_topology(Algorithm::hierarchical_ring, 5, std::vector{0, 0, 1, 1, 2});
  EXPECT_EQ(ragged.chunk_cycle, 0);
}

}  // namespace
}  // namespace gradwire::collectives
