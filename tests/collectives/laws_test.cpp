#include <algorithm>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collectives/symbolic.hpp"
#include "every_schedule.hpp"

namespace gradwire::collectives {
namespace {

using testing::Case;
using ::testing::Contains;
using testing::every_case;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int kMostRanks = 33;

class Laws : public ::testing::TestWithParam<Case> {};

TEST_P(Laws, HoldForEveryNumberOfRanks) {
  for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
    SCOPED_TRACE(ranks);
    const Schedule schedule = GetParam().schedule(ranks);
    EXPECT_THAT(check_contributions(schedule), IsEmpty());
    EXPECT_THAT(check_matched(schedule), IsEmpty());
    EXPECT_THAT(check_order(schedule), IsEmpty());
    EXPECT_THAT(check_progress(schedule, Buffering::rendezvous), IsEmpty());
    EXPECT_THAT(check_progress(schedule, Buffering::one_frame), IsEmpty());
  }
}

TEST(BroadcastLaws, HoldForEveryRoot) {
  for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
    for (int root = 0; root < ranks; ++root) {
      const Schedule schedule = make_schedule(Collective::broadcast, Algorithm::tree, ranks, root);
      EXPECT_THAT(check_laws(schedule), IsEmpty()) << root << " of " << ranks;
    }
  }
}

// Every single step is needed: whichever is taken away, a law breaks.
TEST_P(Laws, BreakWithoutAnyOneStep) {
  for (const int ranks : {1, 2, 3, 4, 5, 7, 8}) {
    const Schedule whole = GetParam().schedule(ranks);
    for (std::size_t rank = 0; rank < whole.steps.size(); ++rank) {
      for (std::size_t step = 0; step < whole.steps[rank].size(); ++step) {
        Schedule faulty = whole;
        faulty.steps[rank].erase(faulty.steps[rank].begin() + static_cast<std::ptrdiff_t>(step));
        EXPECT_THAT(check_laws(faulty), Not(IsEmpty()))
            << ranks << " ranks, without " << describe_step(static_cast<int>(rank), whole.steps[rank][step]);
      }
    }
  }
}

TEST_P(Laws, BreakWhenAnyStepIsDoubled) {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    const Schedule whole = GetParam().schedule(ranks);
    for (std::size_t rank = 0; rank < whole.steps.size(); ++rank) {
      for (std::size_t step = 0; step < whole.steps[rank].size(); ++step) {
        // Assigning the same frame twice changes nothing.
        if (whole.steps[rank][step].verb == Verb::assign && whole.layers == 1) continue;
        Schedule faulty = whole;
        auto& steps = faulty.steps[rank];
        steps.insert(steps.begin() + static_cast<std::ptrdiff_t>(step), whole.steps[rank][step]);
        EXPECT_THAT(check_laws(faulty), Not(IsEmpty()))
            << ranks << " ranks, twice " << describe_step(static_cast<int>(rank), whole.steps[rank][step]);
      }
    }
  }
}

/// In each round every rank posts all that it has to send before it receives anything.
Schedule sends_first(Schedule schedule) {
  for (auto& steps : schedule.steps) {
    std::ranges::stable_sort(steps, {}, [](const Step& step) {
      const int turn = step.verb == Verb::encode ? 0 : step.verb == Verb::send ? 1 : 2;
      return std::pair(step.round, turn);
    });
  }
  return schedule;
}

TEST(DeadlockCheck, RejectsSendsBeforeReceives) {
  for (const Algorithm algorithm : all_algorithms()) {
    for (int ranks = 2; ranks <= kMostRanks; ++ranks) {
      const Schedule faulty = sends_first(make_schedule(Collective::allreduce, algorithm, ranks));
      EXPECT_THAT(check_progress(faulty, Buffering::rendezvous), Contains(HasSubstr("is stuck")))
          << to_string(algorithm) << " of " << ranks;
      EXPECT_THAT(check_order(faulty), Not(IsEmpty())) << to_string(algorithm) << " of " << ranks;
    }
  }
}

// Two ranks that owe each other two frames, each waiting for the other's second before it takes the first.
TEST(DeadlockCheck, KnowsOneFrameOfBufferFromMany) {
  const auto transfer = [](Verb verb, int chunk, int peer) {
    return Step{.verb = verb, .chunk_begin = chunk, .chunk_end = chunk + 1, .peer = peer};
  };
  Schedule schedule{.ranks = 2, .chunk_count = 2, .owner = {0, 0}, .steps = {}};
  for (const int peer : {1, 0}) {
    schedule.steps.push_back({transfer(Verb::send, 0, peer), transfer(Verb::send, 1, peer),
                              transfer(Verb::recv, 0, peer), transfer(Verb::recv, 1, peer)});
  }
  EXPECT_THAT(check_progress(schedule, Buffering::one_frame), Contains(HasSubstr("is stuck")));
  for (auto& steps : schedule.steps) std::swap(steps[1], steps[2]);
  EXPECT_THAT(check_progress(schedule, Buffering::one_frame), IsEmpty());
  EXPECT_THAT(check_progress(schedule, Buffering::rendezvous), Contains(HasSubstr("is stuck")));
}

TEST(OrderCheck, RejectsASendThatDoesNotWait) {
  Schedule schedule = make_schedule(Collective::allreduce, Algorithm::ring, 3);
  for (auto& steps : schedule.steps) {
    for (Step& step : steps) step.round = 0;
  }
  EXPECT_THAT(check_order(schedule), Contains(HasSubstr("depends on a receive")));
}

TEST(ContributionCheck, RejectsAnOwnerThatKeepsItsBetterCopy) {
  Schedule schedule = make_schedule(Collective::allreduce, Algorithm::two_shot, 4);
  auto& steps = schedule.steps[2];
  const auto own = std::ranges::find_if(
      steps, [](const Step& step) { return step.verb == Verb::assign && step.chunk_begin == 2; });
  ASSERT_NE(own, steps.end());
  own->verb = Verb::finish;
  EXPECT_THAT(check_contributions(schedule), Contains(HasSubstr("rank 2, chunk 2")));
}

TEST(ContributionCheck, RejectsAFoldThatEncodesTwice) {
  Schedule schedule = make_schedule(Collective::allreduce, Algorithm::two_shot, 3);
  auto& steps = schedule.steps[0];
  const Step encode = *std::ranges::find(steps, Verb::encode, &Step::verb);
  steps.insert(steps.begin(), encode);
  EXPECT_THAT(check_contributions(schedule), Contains(HasSubstr("second time")));
}

INSTANTIATE_TEST_SUITE_P(Every, Laws, ::testing::ValuesIn(every_case()),
                         [](const auto& tested) { return identifier(tested.param.name()); });

}  // namespace
}  // namespace gradwire::collectives
