#include <algorithm>

#include <gtest/gtest.h>

#include "gradwire/error.hpp"
#include "oracle_data.hpp"
#include "tests/support/every_algorithm.hpp"

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

/// Many operations on gradients that never change.
struct Constant {
  double imbalance =
      0;             ///< |sum of results + last residuals - sum of gradients|, as a part of all magnitudes
  double error = 0;  ///< how far the time average of the results is from the sum over ranks, relative
};

Constant run_constant(const std::string& algorithm, bool feedback, int operations) {
  const auto codec = compress::make_reference_codec("onebit:block=64");
  const Counts counts{256};
  const Resolved resolved = resolve(Collective::allreduce, algorithm, *codec, counts, 4);
  const auto gradients = random_data(4, counts, 21, feedback);
  auto data = gradients;
  std::vector<double> total(counts[0], 0.0);
  for (int operation = 0; operation < operations; ++operation) {
    for (std::size_t rank = 0; rank < data.size(); ++rank) data[rank].tensors = gradients[rank].tensors;
    run_oracle(resolved.schedule, resolved.layout, *codec, {}, data);
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += static_cast<double>(data[0].tensors[0][i]);
  }
  double missing = 0;
  double magnitude = 0;
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < total.size(); ++i) {
    double exact = 0;
    double residual = 0;
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      const auto gradient = static_cast<double>(gradients[rank].tensors[0][i]);
      exact += gradient;
      magnitude += operations * std::abs(gradient);
      if (feedback) residual += static_cast<double>(data[rank].residuals[0][i]);
    }
    missing += std::abs(total[i] + residual - operations * exact);
    error += std::pow(total[i] / operations - exact, 2);
    norm += exact * exact;
  }
  return {.imbalance = missing / magnitude, .error = std::sqrt(error / norm)};
}

/// What was not sent lies in the residuals, of which every rank has one per element whether it owns the
/// element or not; and residuals don't grow, so that the time average's error falls as 1/T.
TEST(ErrorFeedback, MakesTheTimeAverageConvergeAndNothingElseDoes) {
  for (const std::string& algorithm : algorithm_names()) {
    const Constant early = run_constant(algorithm, true, 400);
    const Constant late = run_constant(algorithm, true, 1600);
    EXPECT_LE(early.imbalance, 1e-6) << algorithm;
    EXPECT_LE(late.imbalance, 1e-6) << algorithm;
    EXPECT_LE(late.error, 1.25 / 4 * early.error) << algorithm;
    const Constant without = run_constant(algorithm, false, 400);
    EXPECT_GT(without.imbalance, 0.5) << algorithm;
    EXPECT_GT(without.error, 0.5) << algorithm;
  }
}

}  // namespace
}  // namespace gradwire::collectives
