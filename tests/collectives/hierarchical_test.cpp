#include <algorithm>
#include <limits>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collectives/program.hpp"
#include "collectives/resolve.hpp"
#include "collectives/symbolic.hpp"
#include "executor_world.hpp"
#include "gradwire/error.hpp"
#include "oracle_data.hpp"
#include "tests/support/quick.hpp"

// Hierarchical allreduces over hosts of any sizes.

namespace gradwire::collectives {
namespace {

using ::testing::IsEmpty;

std::vector<Algorithm> hierarchical_algorithms() {
  std::vector<Algorithm> algorithms;
  std::ranges::copy_if(all_algorithms(), std::back_inserter(algorithms), is_hierarchical);
  return algorithms;
}

/// All ways to spread ranks over hosts, numbered as they come.
std::vector<std::vector<int>> every_layout(int ranks) {
  std::vector<std::vector<int>> layouts{{}};
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<std::vector<int>> longer;
    for (const auto& layout : layouts) {
      const int known = layout.empty() ? 0 : *std::ranges::max_element(layout) + 1;
      for (int host = 0; host <= known; ++host) {
        longer.push_back(layout);
        longer.back().push_back(host);
      }
    }
    layouts = std::move(longer);
  }
  return layouts;
}

class Hierarchical : public ::testing::TestWithParam<Algorithm> {};

TEST_P(Hierarchical, ObeysTheLawsOnEveryLayoutOfHosts) {
  for (int ranks = 1; ranks <= 7; ++ranks) {
    for (const auto& hosts : every_layout(ranks)) {
      const Schedule schedule = make_schedule(Collective::allreduce, GetParam(), ranks, 0, hosts);
      EXPECT_THAT(check_laws(schedule), IsEmpty()) << ::testing::PrintToString(hosts);
    }
  }
}

TEST_P(Hierarchical, IsThePlainAlgorithmWhereEachRankHasAHost) {
  for (const int ranks : {1, 2, 3, 8, 13}) {
    const Schedule plain = make_schedule(Collective::allreduce, between_hosts(GetParam()), ranks);
    const Schedule hierarchical = make_schedule(Collective::allreduce, GetParam(), ranks);
    EXPECT_EQ(hierarchical.steps, plain.steps);
  }
}

// Between hosts goes what the algorithm needs for as many ranks as there are hosts, shared out among the
// gateways; inside, each rank hands over what it does not keep, once raw, and gets it back once encoded.
TEST_P(Hierarchical, SendsBetweenHostsWhatTheHostsNeed) {
  const auto codec = compress::make_codec("onebit");
  constexpr int kHosts = 4;
  constexpr int kEach = 3;
  const std::vector<std::size_t> counts{1U << 20U};
  std::vector<int> hosts;
  hosts.reserve(std::size_t{kHosts} * kEach);
  for (int rank = 0; rank < kHosts * kEach; ++rank) hosts.push_back(rank / kEach);
  const auto volume = [&](std::string_view name, int ranks, std::span<const int> layout) {
    Volume between;
    std::uint64_t plain = 0;
    const Resolved resolved = resolve(Collective::allreduce, name, *codec, counts, ranks, 0, layout);
    for (int rank = 0; rank < ranks; ++rank) {
      const Program program = compile(resolved.schedule, resolved.layout, *codec, rank);
      between.payload_bytes += program.sent.payload_bytes - program.sent_inside.payload_bytes;
      plain += program.sent_plain.payload_bytes;
    }
    return std::pair(between.payload_bytes, plain);
  };
  const auto [flat, none] = volume(to_string(between_hosts(GetParam())), kHosts, {});
  const auto [between, plain] = volume(to_string(GetParam()), kHosts * kEach, hosts);
  EXPECT_EQ(none, 0);
  EXPECT_NEAR(static_cast<double>(between), static_cast<double>(flat), static_cast<double>(flat) * 1e-3);
  EXPECT_EQ(plain, kHosts * (kEach - 1) * counts[0] * sizeof(float));
}

TEST_P(Hierarchical, EqualsTheOracleOnRandomLayouts) {
  std::minstd_rand random(7);
  const int rounds = quick() ? 12 : 40;
  for (int round = 0; round < rounds; ++round) {
    const int ranks = 2 + static_cast<int>(random() % 8);
    std::vector<int> hosts;
    for (int rank = 0; rank < ranks; ++rank) {
      const int known = hosts.empty() ? 0 : *std::ranges::max_element(hosts) + 1;
      hosts.push_back(static_cast<int>(random() % static_cast<unsigned>(std::min(known, 3) + 1)));
    }
    const auto& specs = testing::codec_specs();
    testing::Job job{.algorithm = std::string(to_string(GetParam())),
                     .codec = specs[random() % specs.size()],
                     .ranks = ranks,
                     .counts = {random() % 200000, random() % 50},
                     .average = random() % 2 == 0,
                     .capacity = 1 + random() % 3,
                     .seed = static_cast<unsigned>(random()),
                     .hosts = hosts};
    SCOPED_TRACE(job.describe());
    testing::World world(job);
    auto expected = testing::random_data(ranks, job.counts, job.seed, true);
    auto data = expected;
    for (int step = 0; step < 2; ++step) {
      world.oracle(expected);
      ASSERT_TRUE(world.run(data));
      for (int rank = 0; rank < ranks; ++rank) {
        const auto r = static_cast<std::size_t>(rank);
        ASSERT_EQ(data[r].tensors, expected[r].tensors);
        ASSERT_EQ(data[r].residuals, expected[r].residuals);
        ASSERT_EQ(data[r].tensors, data[0].tensors);
      }
    }
  }
}

// A frame inside a host carries the residual away, but not that of an element which is no number.
TEST_P(Hierarchical, KeepsTheResidualBesideANaN) {
  const testing::Job job{.algorithm = std::string(to_string(GetParam())),
                         .codec = "onebit",
                         .ranks = 2,
                         .counts = {1000},
                         .hosts = {0, 0}};
  testing::World world(job);
  auto data = testing::random_data(2, job.counts, 1, true);
  for (auto& rank : data) std::ranges::fill(rank.residuals[0], 0.5F);
  data[1].tensors[0][0] = std::numeric_limits<float>::quiet_NaN();  // its gateway is rank 0
  auto expected = data;
  world.oracle(expected);
  ASSERT_TRUE(world.run(data));
  for (const auto& ranks : {data, expected}) {
    EXPECT_EQ(ranks[1].residuals[0][0], 0.5F);
    EXPECT_EQ(ranks[1].residuals[0][1], 0.0F);
  }
  EXPECT_TRUE(world.executor(0).non_finite() && world.executor(1).non_finite());
}

TEST_P(Hierarchical, HasWholeFramesWhereNothingStaysInside) {
  const auto codec = compress::make_codec("onebit:block=32768");
  const std::vector<std::size_t> counts{1U << 22U};
  const Resolved plain =
      resolve(Collective::allreduce, to_string(between_hosts(GetParam())), *codec, counts, 3);
  const Resolved alone = resolve(Collective::allreduce, to_string(GetParam()), *codec, counts, 3);
  EXPECT_EQ(alone.layout.segments.size(), plain.layout.segments.size());
  const std::vector<int> hosts{0, 0, 1};
  try {
    (void)resolve(Collective::allreduce, to_string(GetParam()), *codec, counts, 3, 0, hosts);
    ADD_FAILURE() << "131,072 bytes fit into a frame";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("inside a host"));
  }
}

TEST(HierarchicalHosts, DoNotBoundBroadcasts) {
  std::vector<int> hosts(8320);
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) hosts[rank] = static_cast<int>(rank / 128);
  EXPECT_NO_THROW((void)make_schedule(Collective::broadcast, Algorithm::hierarchical_ring, 8320, 0, hosts));
}

TEST(HierarchicalHosts, AreNumberedInOrder) {
  for (const std::vector<int>& hosts : {std::vector{1, 0, 0}, {0, 2, 1}, {0, -1, 0}, {0, 0}, {0, 0, 0, 1}}) {
    EXPECT_THROW((void)make_schedule(Collective::allreduce, Algorithm::hierarchical_ring, 3, 0, hosts),
                 Error);
    EXPECT_THROW((void)make_schedule(Collective::allreduce, Algorithm::ring, 3, 0, hosts), Error);
  }
}

TEST(HierarchicalHosts, RefuseAReduceScatter) {
  EXPECT_THROW((void)make_schedule(Collective::reduce_scatter, Algorithm::hierarchical_ring, 4), Error);
}

INSTANTIATE_TEST_SUITE_P(Between, Hierarchical, ::testing::ValuesIn(hierarchical_algorithms()),
                         [](const auto& each) { return identifier(std::string(to_string(each.param))); });

}  // namespace
}  // namespace gradwire::collectives
