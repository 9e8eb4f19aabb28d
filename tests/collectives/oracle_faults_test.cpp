#include <algorithm>

#include <gtest/gtest.h>

#include "gradwire/error.hpp"
#include "oracle_data.hpp"

// Faults planted on purpose: each must be seen by the checks that oracle_test.cpp relies on.
namespace gradwire::collectives {
namespace {

using testing::conservation_error;
using testing::random_data;
using testing::replicas_identical;
using testing::same_bits;

using Counts = std::vector<std::size_t>;

void drop_residuals(std::vector<RankData>& data) {
  for (RankData& rank : data) {
    for (auto& residual : rank.residuals) std::ranges::fill(residual, 0.0F);
  }
}

TEST(PlantedFault, DroppedResidualsBreakConservation) {
  for (const char* spec : {"fp16", "bf16", "onebit", "onebit:scale=l2"}) {
    const auto codec = compress::make_reference_codec(spec);
    const Counts counts{1000};
    for (const Algorithm algorithm : all_algorithms()) {
      const Resolved resolved = resolve(Collective::allreduce, to_string(algorithm), *codec, counts, 4);
      EXPECT_GT(conservation_error(resolved, *codec, counts, true, 20, drop_residuals), 1e-5)
          << spec << " " << to_string(algorithm);
    }
  }
}

TEST(PlantedFault, OneRanksDroppedResidualsBreakConservation) {
  const auto codec = compress::make_reference_codec("onebit");
  const Counts counts{1000};
  for (const Algorithm algorithm : all_algorithms()) {
    const Resolved resolved = resolve(Collective::allreduce, to_string(algorithm), *codec, counts, 4);
    const auto drop_one = [](std::vector<RankData>& data) { std::ranges::fill(data[2].residuals[0], 0.0F); };
    EXPECT_GT(conservation_error(resolved, *codec, counts, false, 20, drop_one), 1e-3)
        << to_string(algorithm);
  }
}

/// Removes what a rank that owns chunks does with its own frame.
Schedule without_own_decode(Schedule schedule, int rank) {
  auto& steps = schedule.steps[static_cast<std::size_t>(rank)];
  std::erase_if(steps, [&](const Step& step) {
    return (step.verb == Verb::assign || step.verb == Verb::add) &&
           (schedule.layers > 1 ? step.layer == rank
                                : step.verb == Verb::assign &&
                                      schedule.owner[static_cast<std::size_t>(step.chunk_begin)] == rank);
  });
  return schedule;
}

TEST(PlantedFault, AnOwnerThatKeepsItsBetterCopyMakesReplicasDiffer) {
  const auto codec = compress::make_reference_codec("onebit");
  const Counts counts{8 * 256};
  for (const Algorithm algorithm : all_algorithms()) {
    const Resolved resolved = resolve(Collective::allreduce, to_string(algorithm), *codec, counts, 4);
    for (const int owner : resolved.schedule.owner) {
      auto data = random_data(4, counts, 3, true);
      run_oracle(without_own_decode(resolved.schedule, owner), resolved.layout, *codec, {}, data);
      EXPECT_FALSE(replicas_identical(data)) << to_string(algorithm) << " owner " << owner;
    }
  }
}

/// Whether the fault went unseen: it ran to the end and every rank has the right bits and residuals.
bool unnoticed(const Resolved& resolved, const Schedule& faulty, const compress::Codec& codec,
               const Counts& counts) {
  auto right = random_data(faulty.ranks, counts, 13, true);
  auto wrong = right;
  run_oracle(resolved.schedule, resolved.layout, codec, {}, right);
  try {
    run_oracle(faulty, resolved.layout, codec, {}, wrong);
  } catch (const Error&) {
    return false;
  }
  for (std::size_t rank = 0; rank < right.size(); ++rank) {
    if (!same_bits(right[rank].tensors[0], wrong[rank].tensors[0]) ||
        !same_bits(right[rank].residuals[0], wrong[rank].residuals[0])) {
      return false;
    }
  }
  return true;
}

TEST(PlantedFault, AnyStepThatIsMissingShowsInTheResult) {
  const auto codec = compress::make_reference_codec("onebit:block=64");
  for (const Algorithm algorithm : all_algorithms()) {
    for (const int ranks : {1, 2, 3, 5}) {
      const Counts counts{static_cast<std::size_t>(ranks) * 64};
      const Resolved resolved = resolve(Collective::allreduce, to_string(algorithm), *codec, counts, ranks);
      for (std::size_t rank = 0; rank < resolved.schedule.steps.size(); ++rank) {
        for (std::size_t step = 0; step < resolved.schedule.steps[rank].size(); ++step) {
          const Step& removed = resolved.schedule.steps[rank][step];
          // A lone rank's finish changes nothing while the residual is zero; the symbolic laws see it
          // missing.
          if (removed.verb == Verb::finish) continue;
          Schedule faulty = resolved.schedule;
          faulty.steps[rank].erase(faulty.steps[rank].begin() + static_cast<std::ptrdiff_t>(step));
          EXPECT_FALSE(unnoticed(resolved, faulty, *codec, counts))
              << to_string(algorithm) << " of " << ranks << ", rank " << rank << " step " << step << " "
              << to_string(removed.verb);
        }
      }
    }
  }
}

/// How far the time average of the results is from the constant gradient, relative to it.
double time_average_error(bool feedback, int operations) {
  const auto codec = compress::make_reference_codec("onebit");
  const Counts counts{1024};
  const Resolved resolved = resolve(Collective::allreduce, "two-shot", *codec, counts, 4);
  const auto gradients = random_data(4, counts, 21, feedback);
  auto data = gradients;
  std::vector<double> total(counts[0], 0.0);
  for (int operation = 0; operation < operations; ++operation) {
    for (std::size_t rank = 0; rank < data.size(); ++rank) data[rank].tensors = gradients[rank].tensors;
    run_oracle(resolved.schedule, resolved.layout, *codec, {}, data);
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += static_cast<double>(data[0].tensors[0][i]);
  }
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < total.size(); ++i) {
    double exact = 0;
    for (const RankData& rank : gradients) exact += static_cast<double>(rank.tensors[0][i]);
    error += std::pow(total[i] / operations - exact, 2);
    norm += exact * exact;
  }
  return std::sqrt(error / norm);
}

TEST(ErrorFeedback, MakesTheTimeAverageConvergeAndNothingElseDoes) {
  const double with_100 = time_average_error(true, 100);
  const double with_400 = time_average_error(true, 400);
  EXPECT_LT(with_400, 0.15);
  EXPECT_LT(with_400, with_100 / 2);
  EXPECT_GT(time_average_error(false, 400), 0.3);
}

}  // namespace
}  // namespace gradwire::collectives
