#include <cstddef>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collectives/cost_model.hpp"
#include "collectives/resolve.hpp"
#include "collectives/symbolic.hpp"
#include "gradwire/error.hpp"
#include "model_clusters.hpp"
#include "tests/support/every_algorithm.hpp"
#include "tests/support/quick.hpp"

// What every model of a cluster has to obey, and the cost model against itself where one host stands for all.

namespace gradwire::collectives {
namespace {

class OfEveryAlgorithm : public ::testing::TestWithParam<Algorithm> {};

TEST_P(OfEveryAlgorithm, CountsTheBytesThatTheScheduleSends) {
  for (const char* name : {"none", "onebit"}) {
    const auto codec = compress::make_codec(name);
    constexpr std::size_t kCounts[] = {100'000};
    for (int ranks = 1; ranks <= 12; ++ranks) {
      const Resolved resolved = resolve(Collective::allreduce, to_string(GetParam()), *codec, kCounts, ranks);
      const auto chunks = chunk_payloads(resolved.layout);
      std::uint64_t payload = 0;
      for (const auto& rank : count_sends(resolved.schedule)) {
        for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
          payload += static_cast<std::uint64_t>(rank[chunk]) * chunks[chunk];
        }
      }
      EXPECT_EQ(price(resolved.schedule, resolved.layout, *codec, Cluster{}).sent.payload_bytes, payload);
    }
  }
}

// Where ranks compute, what comes earlier may come first that had better come second: then a slower link can
// save a little.
TEST_P(OfEveryAlgorithm, GrowsWithBytesAndLatencyAndSlowerLinks) {
  for (const char* name : {"none", "onebit"}) {
    const auto codec = compress::make_codec(name);
    for (const int ranks : {2, 3, 8, 13}) {
      for (const int each : {1, 4}) {
        for (const bool computing : {false, true}) {
          SCOPED_TRACE(::testing::Message() << name << ", " << ranks << " ranks, " << each << " a host, "
                                            << (computing ? "computing" : "links alone"));
          const auto hosts = equal_hosts(ranks, each);
          const double least = computing ? 0.95 : 1 - 1e-12;
          const Cluster usual = computing ? Cluster{} : links(kLatency, kRate);
          const auto seconds = [&](std::size_t blocks, const Cluster& cluster) {
            const std::size_t count = blocks * 256 * static_cast<std::size_t>(ranks) * 4;
            return price(Collective::allreduce, GetParam(), *codec, count, ranks, hosts, cluster).seconds;
          };
          double before = 0;
          for (std::size_t blocks = 1; blocks <= 1024; blocks *= 4) {
            const double now = seconds(blocks, usual);
            EXPECT_GE(now, before * least) << blocks;
            before = now;
          }
          EXPECT_GT(seconds(1024, usual), 1.2 * seconds(64, usual));
          before = 0;
          for (const double latency : {0.0, 1e-6, 1e-4, 1e-2}) {
            Cluster cluster = usual;
            cluster.latency = latency;
            const double now = seconds(16, cluster);
            // Without any latency, a tree's frames come in pairs, and which is first decides.
            const bool decided = between_hosts(GetParam()) != Algorithm::tree || latency > 1e-6;
            EXPECT_GE(now, before * (decided ? least : 0.94)) << latency;
            before = now;
          }
          before = 0;
          for (const double rate : {1e10, 1e9, 1e8, 1e7}) {
            Cluster cluster = usual;
            cluster.link_rate = rate;
            const double now = seconds(16, cluster);
            EXPECT_GE(now, before * least) << rate;
            before = now;
          }
        }
      }
    }
  }
}

TEST_P(OfEveryAlgorithm, IsNeverQuickerThanItsBytes) {
  for (const char* name : {"none", "onebit"}) {
    const auto codec = compress::make_codec(name);
    constexpr std::size_t kCount = 1U << 20U;
    for (const int ranks : {2, 6, 16}) {
      for (const int each : {1, 2}) {
        const auto hosts = equal_hosts(ranks, each);
        const Cluster cluster{};
        const Cost cost = price(Collective::allreduce, GetParam(), *codec, kCount, ranks, hosts, cluster);
        EXPECT_GE(cost.seconds, static_cast<double>(cost.busiest_link) / cluster.link_rate);
        EXPECT_GE(cost.seconds, least_seconds(Collective::allreduce, codec->max_payload(kCount), ranks,
                                              hosts.back() + 1, cluster));
      }
    }
  }
}

/// How far apart they may be. What is added in one round, from inside the host and from others, has an order
/// that hosts number differently; so have the layers of one-shot.
double tolerance(Algorithm algorithm, int each) {
  const bool exact = each == 1 && between_hosts(algorithm) != Algorithm::one_shot;
  return exact ? 1e-9 : 0.06;
}

TEST_P(OfEveryAlgorithm, IsThatOfOneHostWhereAllDoTheSame) {
  for (const char* name : {"none", "onebit"}) {
    const auto codec = compress::make_codec(name);
    for (const int ranks : {4, 12, 16, 32}) {
      for (const int each : {1, 2, 4}) {
        if (quick() && ranks > 16) continue;
        SCOPED_TRACE(::testing::Message() << name << ", " << ranks << " ranks, " << each << " a host");
        const auto hosts = equal_hosts(ranks, each);
        const std::size_t count = static_cast<std::size_t>(ranks) * 256 * 32;
        const Cost all = price(Collective::allreduce, GetParam(), *codec, count, ranks, hosts, Cluster{});
        const Cost one = price(Collective::allreduce, GetParam(), *codec, count, ranks, hosts, Cluster{}, 0);
        EXPECT_TRUE(all.every_rank);
        const Algorithm between = between_hosts(GetParam());
        const bool symmetric = between != Algorithm::tree && between != Algorithm::halving_doubling;
        EXPECT_EQ(one.every_rank, !symmetric || ranks == each);
        EXPECT_EQ(one.sent.wire_bytes(), all.sent.wire_bytes());
        EXPECT_EQ(one.sent_inside.wire_bytes(), all.sent_inside.wire_bytes());
        EXPECT_EQ(one.busiest_link, all.busiest_link);
        EXPECT_NEAR(one.seconds, all.seconds, tolerance(GetParam(), each) * all.seconds);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Algorithms, OfEveryAlgorithm, ::testing::ValuesIn(all_algorithms()),
                         [](const auto& of) { return identifier(std::string(to_string(of.param))); });

TEST(CostModel, PricesMoreRanksThanAScheduleLists) {
  const auto codec = compress::make_codec("onebit");
  const Cluster cluster{};
  constexpr int kRanks = 2048;
  constexpr std::size_t kCount = std::size_t{kRanks} * 256;
  EXPECT_THROW(make_schedule(Collective::allreduce, Algorithm::ring, kRanks), Error);
  const Cost ring = price(Collective::allreduce, Algorithm::ring, *codec, kCount, kRanks, {}, cluster);
  EXPECT_FALSE(ring.every_rank);
  EXPECT_EQ(ring.sent.payload_bytes, 2 * std::uint64_t{kRanks - 1} * codec->max_payload(kCount));
  const double frame = static_cast<double>(codec->max_payload(256)) + kHeader;
  EXPECT_GE(ring.seconds, 2 * (kRanks - 1) * (cluster.latency + frame / cluster.link_rate));
  EXPECT_LE(ring.seconds, 2 * (kRanks - 1) * (cluster.latency + frame / cluster.link_rate + 1e-5));
  // Chunks without a block are not what one host could stand for.
  EXPECT_THROW(price(Collective::allreduce, Algorithm::ring, *codec, kCount / 2, kRanks, {}, cluster), Error);
}

TEST(CostModel, OfManyRanksIsThatOfOneHost) {
  const int ranks = quick() ? 64 : 256;
  const std::size_t count = static_cast<std::size_t>(ranks) * 256 * 8;
  for (const Algorithm algorithm : {Algorithm::ring, Algorithm::two_shot}) {
    for (const char* name : {"none", "onebit"}) {
      SCOPED_TRACE(::testing::Message() << to_string(algorithm) << ", " << name);
      const auto codec = compress::make_codec(name);
      const auto seconds = [&](std::size_t priced_frames) {
        const Cost cost =
            price(Collective::allreduce, algorithm, *codec, count, ranks, {}, Cluster{}, priced_frames);
        EXPECT_EQ(cost.every_rank, priced_frames > 0);
        return cost.seconds;
      };
      const double every_rank = seconds(std::numeric_limits<std::size_t>::max());
      EXPECT_NEAR(seconds(0), every_rank, 1e-9 * every_rank);
    }
  }
}

TEST(CostModel, RefusesWhatNoScheduleIs) {
  const auto codec = compress::make_codec("none");
  for (const int ranks : {4, 512}) {
    for (const Algorithm algorithm : {Algorithm::one_shot, Algorithm::tree, Algorithm::hierarchical_ring}) {
      for (const Collective collective : {Collective::reduce_scatter, Collective::allgather}) {
        SCOPED_TRACE(::testing::Message()
                     << to_string(collective) << " by " << to_string(algorithm) << " of " << ranks);
        EXPECT_THAT([&] { price(collective, algorithm, *codec, 1U << 20U, ranks, {}, Cluster{}); },
                    ::testing::Throws<Error>(::testing::Property(&Error::code, ErrorCode::unsupported)));
      }
    }
  }
}

TEST(CostModel, RefusesWhatWouldNotFitIntoMemory) {
  const auto codec = compress::make_codec("none");
  const auto refuses = [&](Algorithm algorithm, std::size_t count, int ranks) {
    EXPECT_THAT([&] { price(Collective::allreduce, algorithm, *codec, count, ranks, {}, Cluster{}); },
                ::testing::Throws<Error>(::testing::Property(&Error::code, ErrorCode::unsupported)))
        << to_string(algorithm);
  };
  refuses(Algorithm::tree, std::size_t{1} << 32U, 4096);
  refuses(Algorithm::halving_doubling, std::size_t{1} << 32U, 1000);
  refuses(Algorithm::one_shot, std::size_t{1} << 32U, 256);
}

TEST(CostModel, RefusesAScheduleThatLeavesOutRanksThatDiffer) {
  const auto codec = compress::make_codec("none");
  constexpr std::size_t kCounts[] = {4096};
  const Schedule tree = lower(tree_topology(6), Collective::allreduce, {.begin = 0, .end = 1});
  EXPECT_THROW(price(tree, make_layout(kCounts, *codec, 2, 8192), *codec, Cluster{}), Error);
}

}  // namespace
}  // namespace gradwire::collectives
