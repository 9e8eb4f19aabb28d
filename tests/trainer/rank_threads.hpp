#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gradwire/error.hpp"
#include "gradwire/store.hpp"
#include "trainer/random.hpp"
#include "trainer/training_run.hpp"

namespace gradwire::trainer {

/// Noisy copies of one random image per class: learnable, but not at once.
inline Dataset make_data(std::size_t train_count = 500, std::size_t test_count = 203) {
  Dataset data;
  data.name = "synthetic";
  data.features = 64;
  data.classes = 5;
  Random random(11);
  std::vector<double> prototypes(data.classes * data.features);
  for (auto& value : prototypes) value = 60 + 140 * random.uniform();
  const auto fill = [&](LabelledImages& part, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto label = random.below(static_cast<std::uint32_t>(data.classes));
      part.labels.push_back(static_cast<std::uint8_t>(label));
      for (std::size_t p = 0; p < data.features; ++p) {
        const double value = prototypes[label * data.features + p] + 80 * random.normal();
        part.pixels.push_back(static_cast<std::uint8_t>(std::clamp(value, 0.0, 255.0)));
      }
    }
  };
  fill(data.train, train_count);
  fill(data.test, test_count);
  prepare_dataset(data);
  return data;
}

inline TrainOptions small_options() {
  TrainOptions options;
  options.hidden = {48, 32};
  options.batch = 8;
  options.steps = 60;
  options.threads = 1;
  options.sgd = {.learning_rate = 0.05F, .momentum = 0.9F, .weight_decay = 1e-4F};
  return options;
}

struct Outcome {
  std::optional<TrainReport> report;
  std::optional<Error> error;
  std::vector<double> losses;
};

using RankFunction = std::function<TrainReport(Communicator, const ProgressCallback&)>;

/// The ranks as threads over inproc.
inline std::vector<Outcome> run_ranks(int ranks, const RankFunction& function) {
  std::vector<Outcome> outcomes(static_cast<std::size_t>(ranks));
  const auto store = make_memory_store();
  std::vector<std::thread> threads;
  threads.reserve(outcomes.size());
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      Outcome& outcome = outcomes[static_cast<std::size_t>(rank)];
      try {
        CommunicatorOptions options;
        options.rank = rank;
        options.world_size = ranks;
        options.store = store;
        options.transport = "inproc";
        options.timeout = std::chrono::seconds(30);
        outcome.report = function(Communicator(options), [&](const TrainProgress& progress) {
          outcome.losses.push_back(progress.train_loss);
        });
      } catch (const Error& error) {
        outcome.error = error;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return outcomes;
}

inline Outcome train_ranks(int ranks, const TrainOptions& options, const Dataset& data) {
  auto outcomes = run_ranks(ranks, [&](Communicator comm, const ProgressCallback& progress) {
    return train(RankGroup(std::move(comm)), options, data, progress);
  });
  for (const auto& outcome : outcomes) {
    EXPECT_FALSE(outcome.error) << outcome.error->what();
    if (outcome.error) return outcome;
    EXPECT_EQ(outcome.report->weights_fingerprint, outcomes[0].report->weights_fingerprint);
    EXPECT_EQ(outcome.report->test_accuracy, outcomes[0].report->test_accuracy);
    EXPECT_EQ(outcome.losses, outcomes[0].losses);
    EXPECT_EQ(outcome.report->replicas_identical, true);
  }
  return outcomes[0];
}

/// In modes whose ranks may see losses of their own, but end with the same model.
inline TrainReport train_mode(int ranks, const TrainOptions& options, const Dataset& data) {
  auto outcomes = run_ranks(ranks, [&](Communicator comm, const ProgressCallback& progress) {
    return train(RankGroup(std::move(comm)), options, data, progress);
  });
  const bool is_compared =
      !uses_servers(options.mode) || (options.mode == Mode::server && options.modes.consistency == "bsp");
  for (const auto& outcome : outcomes) {
    EXPECT_FALSE(outcome.error) << outcome.error->what();
    if (outcome.error) return {};
    EXPECT_EQ(outcome.report->replicas_identical, is_compared ? std::optional(true) : std::nullopt);
    EXPECT_EQ(outcome.report->weights_fingerprint, outcomes[0].report->weights_fingerprint);
  }
  return *outcomes[0].report;
}

inline void expect_errors(const std::vector<Outcome>& outcomes, ErrorCode code, const std::string& reason) {
  for (std::size_t rank = 0; rank < outcomes.size(); ++rank) {
    ASSERT_TRUE(outcomes[rank].error) << "rank " << rank << " succeeded";
    EXPECT_EQ(outcomes[rank].error->code(), code) << "rank " << rank << ": " << outcomes[rank].error->what();
    EXPECT_THAT(outcomes[rank].error->what(), testing::HasSubstr(reason)) << "rank " << rank;
  }
}

}  // namespace gradwire::trainer
