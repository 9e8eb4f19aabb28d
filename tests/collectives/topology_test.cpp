#include "collectives/topology.hpp"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

std::size_t index(int value) { return static_cast<std::size_t>(value); }

/// Hops to the owner, or -1 when the parents lead nowhere.
int hops(const Tree& tree, int rank) {
  for (int hop = 0; hop < static_cast<int>(tree.parent.size()); ++hop) {
    if (rank == tree.owner) return hop;
    rank = tree.parent[index(rank)];
    if (rank < 0) return -1;
  }
  return -1;
}

TEST(Topology, EveryTreeSpansAllRanksAndKeepsItsRoundsInOrder) {
  for (const Algorithm algorithm : all_algorithms()) {
    for (int ranks = 1; ranks <= 33; ++ranks) {
      SCOPED_TRACE(::testing::Message() << to_string(algorithm) << " of " << ranks);
      const Topology topology = make_topology(algorithm, ranks);
      ASSERT_EQ(topology.ranks, ranks);
      ASSERT_EQ(topology.chunks.size(), index(topology.chunk_count));
      for (const auto& layers : topology.chunks) {
        ASSERT_EQ(layers.size(), index(topology.layers));
        for (const ChunkTrees& trees : layers) {
          EXPECT_EQ(trees.in.owner, trees.out.owner);
          int last_in = -1;
          for (int rank = 0; rank < ranks; ++rank) {
            if (topology.layers > 1) {
              EXPECT_EQ(trees.in.parent[index(rank)], -1);
            } else {
              ASSERT_GE(hops(trees.in, rank), 0);
              const int parent = trees.in.parent[index(rank)];
              last_in = std::max(last_in, trees.in.round[index(rank)]);
              if (parent >= 0 && parent != trees.in.owner) {
                EXPECT_LT(trees.in.round[index(rank)], trees.in.round[index(parent)]);
              }
            }
          }
          for (int rank = 0; rank < ranks; ++rank) {
            ASSERT_GE(hops(trees.out, rank), 0);
            const int parent = trees.out.parent[index(rank)];
            if (parent < 0) continue;
            EXPECT_GT(trees.out.round[index(rank)], last_in);
            if (parent != trees.out.owner) {
              EXPECT_GT(trees.out.round[index(rank)], trees.out.round[index(parent)]);
            }
          }
        }
      }
    }
  }
}

TEST(Topology, ReduceScatteringAlgorithmsGiveRankKChunkK) {
  for (const Algorithm algorithm : {Algorithm::ring, Algorithm::two_shot, Algorithm::halving_doubling}) {
    for (int ranks = 1; ranks <= 33; ++ranks) {
      const Topology topology = make_topology(algorithm, ranks);
      ASSERT_EQ(topology.chunk_count, ranks);
      for (int chunk = 0; chunk < ranks; ++chunk) {
        EXPECT_EQ(topology.chunks[index(chunk)].front().in.owner, chunk)
            << to_string(algorithm) << " of " << ranks;
      }
    }
  }
}

// In a round each rank sends one chunk and receives one, all the way round.
TEST(Topology, RingAndTwoShotKeepEveryRankBusyInEveryRound) {
  for (const Algorithm algorithm : {Algorithm::ring, Algorithm::two_shot}) {
    for (int ranks = 2; ranks <= 33; ++ranks) {
      const Topology topology = make_topology(algorithm, ranks);
      std::set<std::pair<int, int>> senders;
      std::set<std::pair<int, int>> receivers;
      for (const auto& layers : topology.chunks) {
        for (int rank = 0; rank < ranks; ++rank) {
          const auto& [layer, in, out] = layers.front();
          if (in.parent[index(rank)] >= 0) {
            EXPECT_TRUE(senders.emplace(in.round[index(rank)], rank).second);
            EXPECT_TRUE(receivers.emplace(in.round[index(rank)], in.parent[index(rank)]).second);
            EXPECT_TRUE(senders.emplace(out.round[index(rank)], out.parent[index(rank)]).second);
            EXPECT_TRUE(receivers.emplace(out.round[index(rank)], rank).second);
          }
        }
      }
      EXPECT_EQ(senders.size(), index(ranks * 2 * (ranks - 1)));
    }
  }
}

TEST(DoubleTree, NoRankIsAnInnerNodeTwiceAndBothTreesAreBinaryAndShallow) {
  for (int ranks = 2; ranks <= 100; ++ranks) {
    SCOPED_TRACE(ranks);
    const Topology topology = tree_topology(ranks);
    ASSERT_EQ(topology.chunk_count, 2);
    std::vector<int> inner(index(ranks), 0);
    for (const auto& layers : topology.chunks) {
      const Tree& tree = layers.front().in;
      std::vector<int> children(index(ranks), 0);
      int deepest = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        if (tree.parent[index(rank)] >= 0) ++children[index(tree.parent[index(rank)])];
        deepest = std::max(deepest, hops(tree, rank));
      }
      int possible = 0;
      while ((1 << (possible + 1)) - 1 < ranks) ++possible;
      EXPECT_EQ(deepest, possible);
      for (int rank = 0; rank < ranks; ++rank) {
        EXPECT_LE(children[index(rank)], 2);
        inner[index(rank)] += children[index(rank)] > 0 ? 1 : 0;
      }
    }
    EXPECT_THAT(inner, ::testing::Each(::testing::Le(1)));
    EXPECT_NE(topology.chunks[0].front().in.owner, topology.chunks[1].front().in.owner);
  }
}

TEST(HalvingDoubling, TakesTheLogarithmOfTheRanksInRounds) {
  for (int ranks = 2; ranks <= 100; ++ranks) {
    const Topology topology = halving_doubling_topology(ranks);
    int levels = 0;
    while ((1 << levels) < ranks) ++levels;
    for (const auto& layers : topology.chunks) {
      EXPECT_LT(*std::ranges::max_element(layers.front().in.round), levels) << ranks;
      EXPECT_LT(*std::ranges::max_element(layers.front().out.round), 2 * levels) << ranks;
    }
  }
}

TEST(Binomial, EveryRootReachesEveryRankInLogarithmicTime) {
  for (int ranks = 1; ranks <= 33; ++ranks) {
    int levels = 0;
    while ((1 << levels) < ranks) ++levels;
    for (int root = 0; root < ranks; ++root) {
      const Topology topology = binomial_topology(ranks, root);
      const Tree& out = topology.chunks.front().front().out;
      EXPECT_EQ(out.owner, root);
      for (int rank = 0; rank < ranks; ++rank) {
        EXPECT_GE(hops(out, rank), 0);
        EXPECT_LE(hops(out, rank), levels);
      }
    }
  }
}

TEST(AlgorithmNames, RoundTripAndUnknownOnesListTheKnown) {
  for (const Algorithm algorithm : all_algorithms())
    EXPECT_EQ(parse_algorithm(to_string(algorithm)), algorithm);
  try {
    (void)parse_algorithm("star");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("'star'"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("ring, two-shot, tree, halving-doubling, one-shot"));
  }
  EXPECT_THROW((void)parse_algorithm("auto"), Error);
  EXPECT_THROW((void)make_topology(Algorithm::ring, 0), Error);
}

}  // namespace
}  // namespace gradwire::collectives
