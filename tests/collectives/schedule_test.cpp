#include "collectives/schedule.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "every_schedule.hpp"
#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

using testing::every_case;

/// One word per step of a rank that touches a chunk.
std::vector<std::string> words(const Schedule& schedule, int rank, int chunk) {
  std::vector<std::string> list;
  for (const Step& step : schedule.steps[static_cast<std::size_t>(rank)]) {
    if (step.chunk_begin > chunk || chunk >= step.chunk_end) continue;
    std::string word(to_string(step.verb));
    if (step.verb == Verb::encode) word += fmt::format("-{}", to_string(step.stage));
    if (step.peer >= 0) word += fmt::format("-{}", step.peer);
    list.push_back(word);
  }
  return list;
}

using ::testing::ElementsAre;

TEST(Schedule, RingWalksRound) {
  const Schedule schedule = make_schedule(Collective::allreduce, Algorithm::ring, 3);
  EXPECT_THAT(words(schedule, 1, 0), ElementsAre("encode-partial", "send-2", "recv-0", "assign", "send-2"));
  EXPECT_THAT(words(schedule, 2, 0),
              ElementsAre("recv-1", "add", "encode-partial", "send-0", "recv-1", "assign"));
  EXPECT_THAT(words(schedule, 0, 0), ElementsAre("recv-2", "add", "encode-result", "send-1", "assign"));
}

TEST(Schedule, OwnerOfTwoShotSendsToAllBeforeItDecodesItsOwnFrame) {
  const Schedule schedule = make_schedule(Collective::allreduce, Algorithm::two_shot, 3);
  EXPECT_THAT(words(schedule, 0, 0),
              ElementsAre("recv-2", "add", "recv-1", "add", "encode-result", "send-1", "send-2", "assign"));
  EXPECT_THAT(words(schedule, 1, 0), ElementsAre("encode-partial", "send-0", "recv-0", "assign"));
}

TEST(Schedule, ReduceScatterEndsWithTheOwnersSumInFull) {
  const Schedule schedule = make_schedule(Collective::reduce_scatter, Algorithm::two_shot, 3);
  EXPECT_THAT(words(schedule, 0, 0), ElementsAre("recv-2", "add", "recv-1", "add", "finish"));
  EXPECT_THAT(words(schedule, 1, 0), ElementsAre("encode-partial", "send-0"));
}

TEST(Schedule, AllgatherIsTheOutTreeAlone) {
  const Schedule schedule = make_schedule(Collective::allgather, Algorithm::ring, 3);
  EXPECT_THAT(words(schedule, 0, 0), ElementsAre("encode-result", "send-1", "assign"));
  EXPECT_THAT(words(schedule, 1, 0), ElementsAre("recv-0", "assign", "send-2"));
  EXPECT_EQ(schedule.steps[0].front().round, 0);
}

TEST(Schedule, OneShotAddsLayersInRankOrder) {
  const Schedule schedule = make_schedule(Collective::allreduce, Algorithm::one_shot, 3);
  EXPECT_EQ(schedule.layers, 3);
  EXPECT_EQ(schedule.chunk_count, 1);
  EXPECT_THAT(words(schedule, 1, 0),
              ElementsAre("recv-0", "encode-result", "send-2", "recv-2", "send-0", "assign", "add", "add"));
}

TEST(Schedule, HalvingDoublingMovesRunsOfChunks) {
  const Schedule schedule = make_schedule(Collective::allreduce, Algorithm::halving_doubling, 4);
  const auto& steps = schedule.steps[0];
  ASSERT_GE(steps.size(), 2U);
  const Step send{.verb = Verb::send,
                  .stage = Stage::partial,
                  .chunk_begin = 2,
                  .chunk_end = 4,
                  .peer = 2,
                  .slot = kPartialSlot,
                  .round = 0};
  EXPECT_EQ(steps[1], send);
  int sends = 0;
  for (const Step& step : steps) sends += step.verb == Verb::send ? 1 : 0;
  EXPECT_EQ(sends, 4);
}

TEST(Schedule, OneRankAloneOnlyFinishes) {
  for (const auto& each : every_case()) {
    const Schedule schedule = each.schedule(1);
    ASSERT_EQ(schedule.steps.size(), 1U);
    ASSERT_EQ(schedule.steps[0].size(), 1U) << each;
    EXPECT_EQ(schedule.steps[0][0].verb, Verb::finish);
    EXPECT_EQ(schedule.steps[0][0].chunk_end, schedule.chunk_count);
  }
}

TEST(Schedule, BroadcastStartsAtAnyRootAndBarrierAtNone) {
  EXPECT_EQ(make_schedule(Collective::broadcast, Algorithm::ring, 5, 3).owner.front(), 3);
  EXPECT_EQ(make_schedule(Collective::barrier, Algorithm::ring, 5).owner.front(), 0);
  EXPECT_THROW((void)make_schedule(Collective::broadcast, Algorithm::ring, 5, 5), Error);
  EXPECT_THROW((void)make_schedule(Collective::broadcast, Algorithm::ring, 5, -1), Error);
}

ErrorCode code_of(Collective collective, Algorithm algorithm, int ranks) {
  try {
    (void)make_schedule(collective, algorithm, ranks);
  } catch (const Error& error) {
    return error.code();
  }
  return {};
}

TEST(Schedule, RefusesWhatItCannotDo) {
  EXPECT_EQ(code_of(Collective::allreduce, Algorithm::ring, 0), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(Collective::allreduce, Algorithm::tree, -3), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(Collective::reduce_scatter, Algorithm::tree, 4), ErrorCode::unsupported);
  EXPECT_EQ(code_of(Collective::allgather, Algorithm::one_shot, 4), ErrorCode::unsupported);
  EXPECT_EQ(code_of(Collective::allreduce, Algorithm::ring, 1'000'000), ErrorCode::unsupported);
  EXPECT_EQ(code_of(Collective::allreduce, Algorithm::one_shot, 2'000'000'000), ErrorCode::unsupported);
}

TEST(Schedule, CollectiveNamesRoundTrip) {
  for (const auto& each : every_case()) {
    EXPECT_EQ(parse_collective(to_string(each.collective)), each.collective);
  }
  EXPECT_THROW((void)parse_collective("reduce"), Error);
}

TEST(Schedule, OfOneRankIsItsPartOfTheWhole) {
  for (const auto& c : every_case()) {
    SCOPED_TRACE(c.name());
    const Schedule whole = c.schedule(9);
    for (int rank = 0; rank < 9; ++rank) {
      const Schedule part =
          make_schedule(c.collective, c.algorithm, 9, 0, ragged_hosts(9), {.begin = rank, .end = rank + 1});
      for (int other = 0; other < 9; ++other) {
        const auto r = static_cast<std::size_t>(other);
        EXPECT_EQ(part.steps[r], other == rank ? whole.steps[r] : std::vector<Step>{});
      }
    }
  }
}

TEST(ChooseAlgorithm, GoesByBytesCodecAndRanks) {
  const auto choose = [](std::size_t bytes, bool lossy, int ranks) {
    return choose_algorithm(Collective::allreduce, bytes, lossy, ranks, ranks);
  };
  EXPECT_EQ(choose(4096, false, 2), Algorithm::one_shot);
  EXPECT_EQ(choose(0, false, 9), Algorithm::one_shot);
  EXPECT_EQ(choose(1024, true, 9), Algorithm::one_shot);
  EXPECT_EQ(choose(4096, false, 9), Algorithm::two_shot);
  EXPECT_EQ(choose(4 << 15, false, 4), Algorithm::two_shot);
  EXPECT_EQ(choose((4 << 15) + 4, false, 4), Algorithm::ring) << "a chunk of more than 32 KiB";
  EXPECT_EQ(choose(1 << 20, false, 4), Algorithm::ring);
  EXPECT_EQ(choose(1 << 20, true, 4), Algorithm::two_shot);
  EXPECT_EQ(choose(1 << 20, true, 32), Algorithm::two_shot);
  EXPECT_EQ(choose(1 << 15, true, 128), Algorithm::two_shot);
  EXPECT_EQ(choose((1 << 15) - 4, true, 128), Algorithm::tree) << "frames of less than 256 bytes";
  EXPECT_EQ(choose(4096, false, 64), Algorithm::two_shot);
  EXPECT_EQ(choose(4096, false, 65), Algorithm::tree);
  EXPECT_EQ(choose(1 << 30, false, 1024), Algorithm::ring);
  EXPECT_EQ(choose(1 << 30, false, 1025), Algorithm::tree) << "nothing else can be listed";
  EXPECT_EQ(choose_algorithm(Collective::reduce_scatter, 1 << 20, false, 4, 4), Algorithm::ring);
  EXPECT_EQ(choose_algorithm(Collective::reduce_scatter, 1 << 20, true, 4, 4), Algorithm::two_shot);
  EXPECT_EQ(choose_algorithm(Collective::allgather, 4096, false, 4, 4), Algorithm::two_shot);
}

TEST(ChooseAlgorithm, GoesByHostsWhereSeveralRanksShareOneOfSeveral) {
  const auto choose = [](std::size_t bytes, bool lossy, int ranks, int hosts) {
    return choose_algorithm(Collective::allreduce, bytes, lossy, ranks, hosts);
  };
  EXPECT_EQ(choose(512, false, 8, 4), Algorithm::one_shot) << "14 copies leave each host";
  EXPECT_EQ(choose(1024, false, 8, 4), Algorithm::hierarchical_tree);
  EXPECT_EQ(choose(4096, false, 8, 4), Algorithm::hierarchical_two_shot);
  EXPECT_EQ(choose(1 << 20, false, 8, 4), Algorithm::hierarchical_ring);
  EXPECT_EQ(choose(1024, false, 8, 8), Algorithm::one_shot);
  EXPECT_EQ(choose(1024, false, 8, 1), Algorithm::one_shot);
  EXPECT_EQ(choose(1 << 20, true, 8, 4), Algorithm::hierarchical_two_shot);
  EXPECT_EQ(choose(1 << 20, true, 8, 7), Algorithm::hierarchical_two_shot) << "two on one, one on the others";
  EXPECT_EQ(choose(1 << 20, true, 8, 1), Algorithm::two_shot);
  EXPECT_EQ(choose(1 << 20, true, 264, 33), Algorithm::hierarchical_two_shot);
  EXPECT_EQ(choose(1 << 17, true, 264, 33), Algorithm::hierarchical_tree);
  EXPECT_EQ(choose(1 << 30, true, 4096, 512), Algorithm::hierarchical_tree) << "nothing else can be listed";
  EXPECT_EQ(choose_algorithm(Collective::reduce_scatter, 1 << 20, true, 8, 4), Algorithm::two_shot);
  EXPECT_EQ(choose_algorithm(Collective::barrier, 0, false, 8, 4), Algorithm::tree);
}

TEST(ChooseAlgorithm, AlwaysNamesOneThatTheCollectiveHas) {
  for (const auto& each : every_case()) {
    for (const std::size_t bytes :
         {std::size_t{0}, std::size_t{1} << 10U, std::size_t{1} << 16U, std::size_t{1} << 24U}) {
      for (const bool lossy : {false, true}) {
        for (const int ranks : {1, 2, 5, 32, 33}) {
          for (const int hosts : {1, (ranks + 1) / 2, ranks}) {
            const Algorithm algorithm = choose_algorithm(each.collective, bytes, lossy, ranks, hosts);
            EXPECT_NO_THROW((void)make_schedule(each.collective, algorithm, ranks));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace gradwire::collectives
