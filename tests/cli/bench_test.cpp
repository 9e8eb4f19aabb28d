#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "bench_ranks.hpp"
#include "cli/bench_check.hpp"
#include "cli/bench_inputs.hpp"
#include "cli/bench_lists.hpp"
#include "cli/bench_report.hpp"
#include "cli/bench_sweep.hpp"
#include "cli/exit_status.hpp"
#include "cli/table.hpp"

namespace gradwire::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(BenchLists, SplitNamesButNotACodecsOptions) {
  EXPECT_THAT(parse_list("ring", {}), ElementsAre("ring"));
  EXPECT_THAT(parse_list("none,onebit:block=64,scale=l2,fp16", {}),
              ElementsAre("none", "onebit:block=64,scale=l2", "fp16"));
  EXPECT_THAT(parse_list("all", {"a", "b"}), ElementsAre("a", "b"));
  for (const char* bad : {"", ",", "a,,b", "a,", "scale=l2"})
    EXPECT_THROW(parse_list(bad, {}), UsageError) << bad;
}

TEST(BenchSizes, GrowByTheFactorAndStayMultiplesOfFour) {
  EXPECT_THAT(parse_sizes(4, 64, 4), ElementsAre(4, 16, 64));
  EXPECT_THAT(parse_sizes(4, 63, 4), ElementsAre(4, 16));
  EXPECT_THAT(parse_sizes(4, 21, 1.5), ElementsAre(4, 8, 12, 20));
  EXPECT_THAT(parse_sizes(4096, 4096, 4), ElementsAre(4096));
  for (const double factor : {1.0, 0.5, -4.0, std::nan("")})
    EXPECT_THROW(parse_sizes(4, 8, factor), UsageError);
}

TEST(BenchInputs, FollowFromTheirNumbersAlone) {
  std::vector<float> one(1000);
  std::vector<float> two(1000);
  std::set<std::uint64_t> seen;
  for (const std::uint64_t seed : {1U, 2U}) {
    for (const int operation : {0, 1}) {
      for (const int rank : {0, 1, 2}) {
        fill_input(one, seed, operation, rank);
        fill_input(two, seed, operation, rank);
        EXPECT_EQ(one, two);
        EXPECT_TRUE(seen.insert(hash_bits(one)).second);
        for (const float value : one) EXPECT_LE(std::fabs(value), 1.0F);
      }
    }
  }
}

TEST(BenchInputs, AHashSeesEveryBitAndEveryExchange) {
  std::vector<float> values(9);
  fill_input(values, 1, 0, 0);
  std::set<std::uint64_t> seen{hash_bits(values)};
  for (auto& value : values) {
    value = -value;
    EXPECT_TRUE(seen.insert(hash_bits(values)).second);
  }
  std::swap(values[0], values[4]);
  EXPECT_TRUE(seen.insert(hash_bits(values)).second);
  EXPECT_NE(hash_bits(std::vector<float>{0.0F}), hash_bits(std::vector<float>{-0.0F}));
  EXPECT_NE(hash_bits(std::vector<float>{}), hash_bits(std::vector<float>{0.0F}));
}

/// Runs the check on threads of this process; `spoil` may plant a fault in a rank's case.
template <typename Spoil>
std::pair<BenchResult, std::string> check(const std::string& codec, const Spoil& spoil) {
  constexpr int kRanks = 3;
  std::pair<BenchResult, std::string> verdict;
  as_ranks(kRanks, [&](Communicator& communicator, BenchBoard& board) {
    const int rank = communicator.rank();
    BenchCase one;
    one.codec = codec;
    one.values.resize(3000);
    if (codec != "none") one.residual.resize(one.values.size());
    OperationTensor tensor;
    tensor.tensor = Tensor(one.values);
    tensor.residual = one.residual;
    OperationOptions operation;
    operation.codec = codec;
    operation.algorithm = "ring";
    one.plan = communicator.plan_allreduce({&tensor, 1}, operation);
    std::vector<float> elsewhere(one.values.size());
    spoil(rank, one, elsewhere);
    BenchResult result;
    const std::string difference = check_against_oracle(one, communicator, board, result);
    if (rank == 0) verdict = {result, difference};
  });
  return verdict;
}

TEST(BenchCheck, HoldsForSoundResults) {
  for (const char* codec : {"none", "onebit"}) {
    const auto [result, difference] = check(codec, [](int, BenchCase&, std::vector<float>&) {});
    EXPECT_EQ(result.identical, true);
    EXPECT_EQ(result.equals_oracle, true);
    EXPECT_EQ(difference, "");
  }
}

TEST(BenchCheck, SeesAWrongSum) {
  for (const char* codec : {"none", "onebit"}) {
    const auto [result, difference] = check(codec, [](int rank, BenchCase& one, std::vector<float>&) {
      if (rank == 1) one.seed = 2;  // adds what nobody expects
    });
    EXPECT_EQ(result.identical, true);
    EXPECT_EQ(result.equals_oracle, false);
    EXPECT_THAT(difference, HasSubstr("the oracle says"));
  }
}

TEST(BenchCheck, SeesRanksThatDiffer) {
  const auto [result, difference] =
      check("none", [](int rank, BenchCase& one, std::vector<float>& elsewhere) {
        if (rank == 2) one.values.swap(elsewhere);  // the plan's results never get to this rank's values
      });
  EXPECT_EQ(result.identical, false);
  EXPECT_EQ(result.equals_oracle, false);
  EXPECT_THAT(difference, HasSubstr("ranks 0 and 2"));
}

TEST(BenchCheck, SeesAWrongResidual) {
  const auto [result, difference] =
      check("onebit", [](int rank, BenchCase& one, std::vector<float>& elsewhere) {
        if (rank == 2) one.residual.swap(elsewhere);
      });
  EXPECT_EQ(result.equals_oracle, false);
  EXPECT_NE(difference, "");
}

TEST(BenchReport, JsonHasTheDocumentedFields) {
  BenchResult result;
  result.ranks = 4;
  result.bytes = 4'000'000;
  result.median_us = 1000;
  const auto json = bench_json({result})["results"][0];
  EXPECT_DOUBLE_EQ(json["algbw_GBps"], 4.0);
  EXPECT_DOUBLE_EQ(json["busbw_GBps"], 6.0);
  EXPECT_TRUE(json["identical"].is_null()) << "not checked";
  for (const char* name :
       {"ranks", "transport", "algorithm", "codec", "bytes", "time_us", "algbw_GBps", "busbw_GBps",
        "wire_bytes_per_rank", "wire_bytes_between_hosts", "identical", "equals_oracle"}) {
    EXPECT_TRUE(json.contains(name)) << name;
  }
  EXPECT_EQ(json.size(), 12U);
}

TEST(Table, LinesUp) {
  EXPECT_EQ(aligned({"name", "n"}, {false, true}, {{"a", "1"}, {"longer", "100"}}),
            "name      n\n"
            "a         1\n"
            "longer  100\n");
  EXPECT_EQ(readable_bytes(100), "100 B");
  EXPECT_EQ(readable_bytes(4096), "4 KiB");
  EXPECT_EQ(readable_bytes(64U << 20U), "64 MiB");
  EXPECT_EQ(readable_bytes(1025), "1025 B");
}

}  // namespace
}  // namespace gradwire::cli
