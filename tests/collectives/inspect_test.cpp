#include "gradwire/inspect.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/environment.hpp"
#include "gradwire/error.hpp"

namespace gradwire::inspect {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::StartsWith;

ErrorCode code_of(const std::string& collective, const std::string& algorithm, const std::string& codec,
                  int ranks, std::size_t count = 100) {
  try {
    (void)describe(collective, algorithm, codec, ranks, count);
  } catch (const Error& error) {
    return error.code();
  }
  return {};
}

TEST(Describe, CountsBytesSendsAndRounds) {
  const Description ring = describe("allreduce", "ring", "none", 4, 1024);
  EXPECT_EQ(ring.algorithm, "ring");
  EXPECT_EQ(ring.codec, "none");
  EXPECT_EQ(ring.chunk_count, 4);
  EXPECT_EQ(ring.layers, 1);
  EXPECT_EQ(ring.rounds, 6);
  ASSERT_EQ(ring.ranks.size(), 4U);
  for (const RankSchedule& rank : ring.ranks) {
    EXPECT_EQ(rank.sent_bytes, 6144U);
    EXPECT_EQ(rank.sends, 6);
  }
  EXPECT_EQ(ring.ranks[0].steps.front().verb, "encode");
  EXPECT_EQ(ring.ranks[0].steps.front().stage, "partial");
}

TEST(Describe, ResolvesAutoAsARunWould) {
  EXPECT_EQ(describe("allreduce", "auto", "none", 2, 1024).algorithm, "one-shot");
  EXPECT_EQ(describe("allreduce", "auto", "none", 2, 1 << 20).algorithm, "ring");
  const Description onebit = describe("allreduce", "auto", "onebit", 4, 1 << 20);
  EXPECT_EQ(onebit.algorithm, "two-shot");
  EXPECT_EQ(onebit.ranks[0].sent_bytes, 6U * ((1U << 20U) / 4 / 256 * 36));
  EXPECT_EQ(describe("broadcast", "auto", "none", 8, 10).algorithm, "binomial");
  EXPECT_EQ(describe("barrier", "ring", "none", 8, 10).ranks[1].sent_bytes, 4U);
}

TEST(Describe, TakesLargeTensorsAndNone) {
  EXPECT_EQ(describe("allreduce", "two-shot", "none", 4, std::size_t{1} << 40U).ranks[0].sent_bytes,
            std::uint64_t{6} << 40U);
  EXPECT_EQ(describe("allreduce", "two-shot", "none", 4, 0).ranks[0].sent_bytes, 0U);
  const Description alone = describe("allreduce", "auto", "onebit", 1, 10);
  EXPECT_EQ(alone.rounds, 0);
  EXPECT_EQ(alone.ranks[0].steps.size(), 1U);
}

TEST(Describe, RefusesWhatMakesNoSense) {
  EXPECT_EQ(code_of("reduce", "ring", "none", 2), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of("allreduce", "star", "none", 2), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of("allreduce", "ring", "zip", 2), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of("allreduce", "ring", "none", 0), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of("allreduce", "auto", "none", -1), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of("allgather", "tree", "none", 4), ErrorCode::unsupported);
  EXPECT_EQ(code_of("allreduce", "ring", "none", 2, std::numeric_limits<std::size_t>::max()),
            ErrorCode::invalid_argument);
}

TEST(OracleAllreduce, SumsAndAverages) {
  const std::vector<std::vector<float>> inputs{{1, 2, 3}, {10, 20, 30}};
  std::vector<std::vector<float>> none;
  for (const std::string& algorithm : algorithms()) {
    EXPECT_THAT(oracle_allreduce(algorithm, "none", false, inputs, none), ElementsAre(11, 22, 33))
        << algorithm;
    EXPECT_THAT(oracle_allreduce(algorithm, "none", true, inputs, none), ElementsAre(5.5, 11, 16.5))
        << algorithm;
  }
  EXPECT_THAT(none, IsEmpty());
}

TEST(OracleAllreduce, ReplacesResiduals) {
  const std::vector<std::vector<float>> inputs(3, {1.0F, 2.0F, -4.0F});
  std::vector<std::vector<float>> residuals{{0, 0, 0}, {0, 0, 0}, {0, 0, 0}};
  const auto result = oracle_allreduce("ring", "onebit", false, inputs, residuals);
  for (std::size_t i = 0; i < 3; ++i) {
    float sum = result[i];
    for (const auto& residual : residuals) sum += residual[i];
    EXPECT_NEAR(sum, 3 * inputs[0][i], 1e-5);
  }
}

TEST(OracleAllreduce, KeepsResidualsWhenAValueIsNotFinite) {
  std::vector<std::vector<float>> inputs(3, std::vector<float>(20, 1.0F));
  inputs[1][7] = std::numeric_limits<float>::infinity();
  std::vector<std::vector<float>> residuals(3, std::vector<float>(20, 0.25F));
  const auto result = oracle_allreduce("two-shot", "onebit", true, inputs, residuals);
  for (const float value : result) EXPECT_TRUE(std::isnan(value));
  for (const auto& residual : residuals) EXPECT_THAT(residual, Each(0.25F));
}

TEST(OracleAllreduce, RefusesTensorsThatDoNotMatch) {
  std::vector<std::vector<float>> none;
  EXPECT_THROW((void)oracle_allreduce("ring", "none", false, {}, none), Error);
  EXPECT_THROW((void)oracle_allreduce("ring", "none", false, {{1}, {1, 2}}, none), Error);
  std::vector<std::vector<float>> few{{0}};
  EXPECT_THROW((void)oracle_allreduce("ring", "none", false, {{1}, {2}}, few), Error);
  std::vector<std::vector<float>> long_one{{0}, {0, 0}};
  EXPECT_THROW((void)oracle_allreduce("ring", "none", false, {{1}, {2}}, long_one), Error);
}

TEST(Simulate, RefusesWhatWouldFillTheMemory) {
  const auto code = [](int ranks, std::size_t count, bool traces) {
    try {
      if (traces) {
        replay_traces("allreduce", "tree", "none", ranks, count, {}, {}, 1e9, [](int, const std::string&) {});
      } else {
        (void)simulate("allreduce", "tree", "none", ranks, count, {});
      }
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode{};
  };
  for (const bool traces : {false, true}) {
    EXPECT_EQ(code(4096, std::size_t{1} << 32U, traces), ErrorCode::unsupported);
    EXPECT_EQ(code(4097, 1024, traces), ErrorCode::invalid_argument);
  }
}

TEST(Names, AreThoseThatParse) {
  EXPECT_THAT(algorithms(), IsSupersetOf({"ring", "two-shot", "tree", "halving-doubling", "one-shot"}));
  EXPECT_THAT(codecs(), IsSupersetOf({"none", "fp16", "bf16", "onebit"}));
  for (const auto& algorithm : algorithms()) {
    for (const auto& codec : codecs()) {
      const auto description = describe("allreduce", algorithm, codec, 3, 100);
      EXPECT_EQ(description.algorithm, algorithm);
      EXPECT_THAT(description.codec, StartsWith(codec));
      EXPECT_THAT(describe_codecs(), HasSubstr(codec));
    }
  }
}

TEST(Names, OfTransportsAreThoseThatTheEnvironmentMayGive) {
  EXPECT_THAT(transports(), IsSupersetOf({"shm", "tcp", "inproc"}));
  for (const auto& variable : base::environment_variables()) {
    if (std::string_view(variable.name) != "GRADWIRE_TRANSPORT") continue;
    for (const auto& transport : transports()) EXPECT_THAT(variable.meaning, HasSubstr(transport));
  }
}

TEST(Addresses, AreReadAsPeopleWriteThem) {
  EXPECT_EQ(parse_address("node7:7000"), (Address{"node7", 7000}));
  EXPECT_EQ(parse_address("[fd00::1]:7000"), (Address{"fd00::1", 7000}));
  EXPECT_EQ(parse_address("10.0.0.7"), (Address{"10.0.0.7", 0}));
  for (const char* text : {"", ":7000", "a:0", "a:65536", "a:b", "fd00::1", "[::1", "[::1]7000"}) {
    EXPECT_THROW((void)parse_address(text), Error) << text;
  }
}

}  // namespace
}  // namespace gradwire::inspect
