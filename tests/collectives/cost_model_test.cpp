#include "collectives/cost_model.hpp"

#include <bit>
#include <limits>

#include <gtest/gtest.h>

#include "collectives/resolve.hpp"
#include "model_clusters.hpp"

// The cost model against closed formulas.

namespace gradwire::collectives {
namespace {

/// An allreduce of `elements` float32 a chunk, each chunk one frame.
double one_segment(Algorithm algorithm, int ranks, std::size_t elements, const Cluster& cluster) {
  const auto codec = compress::make_codec("none");
  const Schedule schedule = make_schedule(Collective::allreduce, algorithm, ranks);
  const std::vector<std::size_t> counts{elements * static_cast<std::size_t>(schedule.chunk_count)};
  const Layout layout =
      make_layout(counts, *codec, schedule.chunk_count, std::numeric_limits<std::size_t>::max());
  return price(schedule, layout, *codec, cluster).seconds;
}

constexpr std::size_t kElements = 5120;  ///< whole blocks, so that chunks are equal
constexpr double kFrame = sizeof(float) * kElements + kHeader;

void expect_close(double seconds, double formula) { EXPECT_NEAR(seconds, formula, 1e-9 * formula); }

TEST(CostModel, OfARingIsTheClosedFormula) {
  for (int ranks = 2; ranks <= 17; ++ranks) {
    expect_close(one_segment(Algorithm::ring, ranks, kElements, links(kLatency, kRate)),
                 2 * (ranks - 1) * (kLatency + kFrame / kRate));
  }
}

TEST(CostModel, OfTwoShotIsTheClosedFormula) {
  for (int ranks = 2; ranks <= 17; ++ranks) {
    expect_close(one_segment(Algorithm::two_shot, ranks, kElements, links(kLatency, kRate)),
                 2 * (kLatency + (ranks - 1) * kFrame / kRate));
  }
}

TEST(CostModel, OfOneShotIsTheClosedFormula) {
  for (int ranks = 2; ranks <= 17; ++ranks) {
    expect_close(one_segment(Algorithm::one_shot, ranks, kElements, links(kLatency, kRate)),
                 kLatency + (ranks - 1) * kFrame / kRate);
  }
}

// A root hears from both children over one link, and tells both over it; the two trees do so at once.
TEST(CostModel, OfATreeIsTheClosedFormula) {
  expect_close(one_segment(Algorithm::tree, 2, kElements, links(kLatency, kRate)),
               2 * (kLatency + kFrame / kRate));
  expect_close(one_segment(Algorithm::tree, 3, kElements, links(kLatency, kRate)),
               2 * (kLatency + 2 * kFrame / kRate));
  for (int ranks = 2; ranks <= 70; ++ranks) {
    const double depth = std::bit_width(static_cast<unsigned>(ranks)) - 1;
    expect_close(one_segment(Algorithm::tree, ranks, kElements, links(kLatency, kNoTime)),
                 2 * depth * kLatency);
    const double seconds = one_segment(Algorithm::tree, ranks, kElements, links(kLatency, kRate));
    EXPECT_GE(seconds, 2 * depth * (kLatency + kFrame / kRate) * (1 - 1e-9)) << ranks;
    EXPECT_LE(seconds, 2 * depth * (kLatency + 4 * kFrame / kRate)) << ranks;
  }
}

// Frames of one level follow each other over the link, those of the next need not wait for the last of them:
// that saves latencies, and costs some idle time where those that others wait for get a later turn.
TEST(CostModel, OfHalvingDoublingIsTheClosedFormula) {
  for (int levels = 1; levels <= 6; ++levels) {
    const int ranks = 1 << levels;
    expect_close(one_segment(Algorithm::halving_doubling, ranks, kElements, links(kLatency, kNoTime)),
                 2 * levels * kLatency);
    const double seconds = one_segment(Algorithm::halving_doubling, ranks, kElements, links(kLatency, kRate));
    const double bytes = 2 * (ranks - 1) * kFrame / kRate;
    EXPECT_GE(seconds, (bytes + 2 * kLatency) * (1 - 1e-9)) << ranks;
    EXPECT_LE(seconds, (bytes + 2 * levels * kLatency) * 1.12) << ranks;
  }
  expect_close(one_segment(Algorithm::halving_doubling, 2, kElements, links(kLatency, kRate)),
               2 * (kLatency + kFrame / kRate));
}

// Two ranks tell rank 0 at once that they are there: its link takes one frame after the other, in and out.
TEST(CostModel, LetsFramesThatMeetWaitForEachOther) {
  const double frame = sizeof(float) + kHeader;
  const Cost cost = price(Collective::barrier, Algorithm::tree, *compress::make_codec("none"), 1, 3, {},
                          links(kLatency, kRate));
  expect_close(cost.seconds, 2 * (kLatency + 2 * frame / kRate));
}

// Two ranks that swap halves: encode mine for you; add yours and encode the sum at once, decode my own frame;
// decode yours. Each sends two frames and takes two.
TEST(CostModel, CountsWhatARankComputes) {
  Cluster cluster = links(0, kNoTime);
  cluster.encode_rate = 1e9;
  cluster.decode_rate = 3e9;
  cluster.frame_time = 1e-3;
  const double half = sizeof(float) * 256;
  const Cost cost =
      price(Collective::allreduce, Algorithm::two_shot, *compress::make_codec("onebit"), 512, 2, {}, cluster);
  expect_close(cost.seconds, 2 * half / 1e9 + 2 * half / 3e9 + 4 * 1e-3);
  cluster.plain_rate = 5e8;
  const Cost alone =
      price(Collective::allreduce, Algorithm::ring, *compress::make_codec("onebit"), 512, 1, {}, cluster);
  expect_close(alone.seconds, sizeof(float) * 512 / 5e8);
}

// Links take no time, so no core is idle before all is done.
TEST(CostModel, LetsRanksTakeTurnsOnCores) {
  const auto codec = compress::make_codec("onebit");
  Cluster cluster = links(0, kNoTime);
  cluster.encode_rate = 1e9;
  cluster.decode_rate = 3e9;
  const auto seconds = [&](int ranks, int cores) {
    cluster.cores = cores;
    return price(Collective::allreduce, Algorithm::two_shot, *codec, 4096, ranks, {}, cluster).seconds;
  };
  const double half = sizeof(float) * 2048;
  const double alone = 2 * half / 1e9 + 2 * half / 3e9;
  expect_close(seconds(2, 1), 2 * alone);
  expect_close(seconds(2, 2), alone);
  expect_close(seconds(2, 0), alone);
  expect_close(seconds(4, 1), 4 * seconds(4, 4));
  EXPECT_GE(seconds(4, 2), 2 * seconds(4, 4) * (1 - 1e-9));
  EXPECT_LE(seconds(4, 2), 3 * seconds(4, 4));
  EXPECT_GT(seconds(4, 3), seconds(4, 4));
}

// One host stands for all only where they do the same at the same time.
TEST(CostModel, PricesEveryRankThatSharesCores) {
  const auto codec = compress::make_codec("onebit");
  Cluster cluster = links(kLatency, kRate);
  const auto cost = [&](int cores) {
    cluster.cores = cores;
    return price(Collective::allreduce, Algorithm::ring, *codec, 8 * 512, 8, {}, cluster, 1);
  };
  EXPECT_FALSE(cost(0).every_rank);
  EXPECT_FALSE(cost(8).every_rank) << "nobody waits";
  expect_close(cost(0).seconds, cost(8).seconds);
  EXPECT_TRUE(cost(7).every_rank);
  EXPECT_GE(cost(7).seconds, cost(8).seconds);
}

// Three ranks of a host share its link; what they send each other goes beside it.
TEST(CostModel, LetsRanksOfAHostShareItsLink) {
  const auto codec = compress::make_codec("none");
  const auto hosts = equal_hosts(6, 3);
  Cluster cluster = links(0, kRate);
  const Cost cost = price(Collective::allreduce, Algorithm::two_shot, *codec, 6 * 512, 6, hosts, cluster);
  const double frame = sizeof(float) * 512 + kHeader;
  EXPECT_EQ(cost.busiest_link, static_cast<std::uint64_t>(2 * 9 * frame));
  EXPECT_EQ(cost.sent.frames - cost.sent_inside.frames, 2U * 18U);
  EXPECT_EQ(cost.sent_inside.frames, 2U * 12U);
  EXPECT_GE(cost.seconds, 2 * 9 * frame / kRate * (1 - 1e-9));
  EXPECT_LE(cost.seconds, 2 * 10 * frame / kRate);
}

}  // namespace
}  // namespace gradwire::collectives
