#include "collectives/oracle.hpp"

#include <limits>
#include <string>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "every_schedule.hpp"
#include "gradwire/error.hpp"
#include "oracle_data.hpp"
#include "tests/support/every_algorithm.hpp"
#include "tests/support/quick.hpp"

namespace gradwire::collectives {
namespace {

using testing::conservation_error;
using testing::every_case;
using testing::random_data;
using testing::replicas_identical;
using testing::same_bits;

using Counts = std::vector<std::size_t>;

constexpr int kMostRanks = 9;

/// Nothing at all, fewer elements than ranks, no multiple of a block or of the ranks, several tensors.
const std::vector<Counts>& count_sets() {
  static const std::vector<Counts> sets{{0}, {1}, {5}, {257}, {700, 0, 33, 256}, {3000}};
  return sets;
}

class Oracles : public ::testing::TestWithParam<std::tuple<const char*, bool>> {
 protected:
  std::shared_ptr<const compress::Codec> codec_ = compress::make_reference_codec(std::get<0>(GetParam()));
  OracleOptions options_{.average = std::get<1>(GetParam())};
};

TEST_P(Oracles, LeaveTheSameBitsOnAllRanks) {
  for (const auto& each : every_case()) {
    if (each.collective == Collective::reduce_scatter || each.collective == Collective::barrier) continue;
    for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
      for (const Counts& counts : count_sets()) {
        const Resolved resolved = resolve(each.collective, to_string(each.algorithm), *codec_, counts, ranks,
                                          0, ragged_hosts(ranks));
        auto data = random_data(ranks, counts, 7, true);
        for (int operation = 0; operation < 3; ++operation) {
          run_oracle(resolved.schedule, resolved.layout, *codec_, options_, data);
          EXPECT_TRUE(replicas_identical(data)) << each << " of " << ranks;
          for (const RankData& rank : data) EXPECT_TRUE(rank.finite);
        }
      }
    }
  }
}

TEST_P(Oracles, ConserveWhatIsPutIn) {
  const int operations = quick() ? 10 : 100;
  for (const auto& each : every_case()) {
    if (each.collective == Collective::barrier) continue;
    for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
      const Counts counts{300, 0, 33};
      const Resolved resolved =
          resolve(each.collective, to_string(each.algorithm), *codec_, counts, ranks, 0, ragged_hosts(ranks));
      const double error =
          conservation_error(resolved, *codec_, counts, options_.average, operations, [](auto& /*data*/) {});
      EXPECT_LE(error, 1e-6) << each << " of " << ranks;
    }
  }
}

TEST_P(Oracles, DoNotDependOnSegments) {
  const Counts counts{3000, 77};
  for (const auto& each : every_case()) {
    if (each.collective == Collective::barrier) continue;
    const Resolved resolved =
        resolve(each.collective, to_string(each.algorithm), *codec_, counts, 4, 0, ragged_hosts(4));
    auto whole = random_data(4, counts, 3, true);
    auto cut = whole;
    run_oracle(resolved.schedule, resolved.layout, *codec_, options_, whole);
    run_oracle(resolved.schedule, make_layout(counts, *codec_, resolved.schedule.chunk_count, 200), *codec_,
               options_, cut);
    for (std::size_t rank = 0; rank < whole.size(); ++rank) {
      for (std::size_t tensor = 0; tensor < counts.size(); ++tensor) {
        EXPECT_TRUE(same_bits(whole[rank].tensors[tensor], cut[rank].tensors[tensor])) << each;
        EXPECT_TRUE(same_bits(whole[rank].residuals[tensor], cut[rank].residuals[tensor])) << each;
      }
    }
  }
}

TEST_P(Oracles, WorkWithoutResiduals) {
  const Counts counts{700, 33};
  for (const auto& each : every_case()) {
    const Resolved resolved =
        resolve(each.collective, to_string(each.algorithm), *codec_, counts, 3, 0, ragged_hosts(3));
    auto with = random_data(3, counts, 3, true);
    auto without = random_data(3, counts, 3, false);
    run_oracle(resolved.schedule, resolved.layout, *codec_, options_, with);
    run_oracle(resolved.schedule, resolved.layout, *codec_, options_, without);
    for (std::size_t tensor = 0; tensor < counts.size(); ++tensor) {
      EXPECT_TRUE(without[1].residuals[tensor].empty());
      EXPECT_TRUE(same_bits(with[1].tensors[tensor], without[1].tensors[tensor])) << each;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Oracles,
                         ::testing::Combine(::testing::Values("none", "fp16", "bf16", "onebit",
                                                              "onebit:block=64,scale=l2", "onebit:scale=l1"),
                                            ::testing::Bool()));

TEST(PlainOracle, IsWithinRoundingOfADoubleReference) {
  const auto codec = compress::make_reference_codec("none");
  for (const Algorithm algorithm : all_algorithms()) {
    for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
      for (const bool average : {false, true}) {
        for (const Counts& counts : count_sets()) {
          const Resolved resolved = resolve(Collective::allreduce, to_string(algorithm), *codec, counts,
                                            ranks, 0, ragged_hosts(ranks));
          const auto inputs = random_data(ranks, counts, 11, false);
          auto data = inputs;
          run_oracle(resolved.schedule, resolved.layout, *codec, {.average = average}, data);
          for (std::size_t tensor = 0; tensor < counts.size(); ++tensor) {
            for (std::size_t i = 0; i < counts[tensor]; ++i) {
              double sum = 0;
              double magnitude = 0;
              for (const RankData& rank : inputs) {
                sum += static_cast<double>(rank.tensors[tensor][i]);
                magnitude += std::abs(static_cast<double>(rank.tensors[tensor][i]));
              }
              const double divisor = average ? ranks : 1;
              const double bound =
                  (ranks - 1) * static_cast<double>(std::numeric_limits<float>::epsilon()) * magnitude;
              ASSERT_NEAR(static_cast<double>(data[0].tensors[tensor][i]), sum / divisor, bound / divisor)
                  << to_string(algorithm) << " of " << ranks;
            }
          }
        }
      }
    }
  }
}

TEST(PlainOracle, FlushesAResidualIntoTheSum) {
  const auto codec = compress::make_reference_codec("none");
  for (const auto& each : every_case()) {
    if (each.collective == Collective::barrier) continue;
    const bool gathers = each.collective == Collective::allgather || each.collective == Collective::broadcast;
    for (const int ranks : {1, 3}) {
      const Counts counts{48};
      const Resolved resolved = resolve(each.collective, to_string(each.algorithm), *codec, counts, ranks);
      std::vector<RankData> data(
          static_cast<std::size_t>(ranks),
          RankData{.tensors = {std::vector<float>(48, 1.0F)}, .residuals = {std::vector<float>(48, 0.5F)}});
      run_oracle(resolved.schedule, resolved.layout, *codec, {}, data);
      const float expected = gathers ? 1.5F : 1.5F * static_cast<float>(ranks);
      for (const Segment& segment : resolved.layout.segments) {
        const auto owner = static_cast<std::size_t>(resolved.schedule.owner[segment.chunk]);
        const Piece& piece = resolved.layout.pieces[segment.piece_begin];
        EXPECT_EQ(data[owner].tensors[0][piece.begin], expected) << each;
        EXPECT_EQ(data[owner].residuals[0][piece.begin], 0.0F) << each;
      }
    }
  }
}

TEST(PlainOracle, ReduceScatterThenAllgatherIsAllreduce) {
  const auto codec = compress::make_reference_codec("none");
  const Counts counts{1000, 33};
  for (const Algorithm algorithm : reduce_scatter_algorithms()) {
    for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
      auto once = random_data(ranks, counts, 5, false);
      auto twice = once;
      const auto run = [&](Collective collective, std::vector<RankData>& data) {
        const Resolved resolved = resolve(collective, to_string(algorithm), *codec, counts, ranks);
        const bool average = collective != Collective::allgather;
        run_oracle(resolved.schedule, resolved.layout, *codec, {.average = average}, data);
      };
      run(Collective::allreduce, once);
      run(Collective::reduce_scatter, twice);
      run(Collective::allgather, twice);
      for (std::size_t tensor = 0; tensor < counts.size(); ++tensor) {
        EXPECT_TRUE(same_bits(once[0].tensors[tensor], twice[0].tensors[tensor])) << to_string(algorithm);
      }
      EXPECT_TRUE(replicas_identical(twice));
    }
  }
}

// Averaged fp16 divides before it encodes, on the way in as well: the sum alone would overflow.
TEST(HalfOracle, DoesNotOverflowWhereTheMeanFits) {
  const auto codec = compress::make_reference_codec("fp16");
  for (const Algorithm algorithm : all_algorithms()) {
    const Counts counts{100};
    const Resolved resolved = resolve(Collective::allreduce, to_string(algorithm), *codec, counts, 8);
    std::vector<RankData> data(8,
                               RankData{.tensors = {std::vector<float>(100, 40'000.0F)}, .residuals = {{}}});
    run_oracle(resolved.schedule, resolved.layout, *codec, {.average = true}, data);
    // 5000 k is exact in fp16 for k = 1, 2, 3, 4, 8, and a tie for k = 5 of spacing 16: 24992. The ring goes
    // on 29992 -> 29984 (a tie), 34984 -> 34976, 39976 -> 39968. The tree's root adds 24992, 10000 and its
    // own 5000: 39992 -> 40000. All others meet powers of two only.
    const float expected = between_hosts(algorithm) == Algorithm::ring ? 39'968.0F : 40'000.0F;
    EXPECT_THAT(data[3].tensors[0], ::testing::Each(expected)) << to_string(algorithm);
  }
}

TEST(NonFinite, IsKnownToEveryRankAfterAnAllreduce) {
  const auto codec = compress::make_reference_codec("onebit");
  const Counts counts{5000, 20};
  for (const Algorithm algorithm : all_algorithms()) {
    for (int ranks = 2; ranks <= kMostRanks; ++ranks) {
      const Resolved resolved =
          resolve(Collective::allreduce, to_string(algorithm), *codec, counts, ranks, 0, ragged_hosts(ranks));
      for (int culprit = 0; culprit < ranks; ++culprit) {
        auto data = random_data(ranks, counts, 9, true);
        data[static_cast<std::size_t>(culprit)].tensors[0][4321] = std::numeric_limits<float>::infinity();
        run_oracle(resolved.schedule, resolved.layout, *codec, {}, data);
        for (const RankData& rank : data)
          EXPECT_FALSE(rank.finite) << to_string(algorithm) << " of " << ranks;
      }
    }
  }
}

TEST(NonFinite, TravelsWithABroadcastOnlyFromItsRoot) {
  const auto codec = compress::make_reference_codec("onebit");
  const Counts counts{500};
  const Resolved resolved = resolve(Collective::broadcast, "auto", *codec, counts, 5, 2);
  for (const std::size_t culprit : {2U, 3U}) {
    auto data = random_data(5, counts, 9, true);
    data[culprit].tensors[0][44] = std::numeric_limits<float>::quiet_NaN();
    run_oracle(resolved.schedule, resolved.layout, *codec, {}, data);
    for (const RankData& rank : data) EXPECT_EQ(rank.finite, culprit != 2);
  }
}

TEST(PlainOracle, NeverLooksForNonFiniteValues) {
  const auto codec = compress::make_reference_codec("none");
  const Counts counts{500};
  const Resolved resolved = resolve(Collective::allreduce, "ring", *codec, counts, 3);
  auto data = random_data(3, counts, 9, false);
  data[1].tensors[0][44] = std::numeric_limits<float>::infinity();
  run_oracle(resolved.schedule, resolved.layout, *codec, {}, data);
  EXPECT_TRUE(data[0].finite);
  EXPECT_EQ(data[0].tensors[0][44], std::numeric_limits<float>::infinity());
}

TEST(OracleArguments, AreChecked) {
  const auto codec = compress::make_reference_codec("none");
  const Counts counts{10};
  const Resolved resolved = resolve(Collective::allreduce, "ring", *codec, counts, 2);
  const auto run = [&](std::vector<RankData> data) {
    run_oracle(resolved.schedule, resolved.layout, *codec, {}, data);
  };
  EXPECT_THROW(run(random_data(3, counts, 1, false)), Error);
  auto uneven = random_data(2, counts, 1, false);
  uneven[1].tensors[0].pop_back();
  EXPECT_THROW(run(uneven), Error);
  auto missing = random_data(2, counts, 1, false);
  missing[1].tensors.clear();
  EXPECT_THROW(run(missing), Error);
  auto residual = random_data(2, counts, 1, true);
  residual[1].residuals[0].pop_back();
  EXPECT_THROW(run(residual), Error);
}

}  // namespace
}  // namespace gradwire::collectives
