#include "trainer/training_run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gradwire/error.hpp"
#include "gradwire/store.hpp"
#include "temporary_folder.hpp"
#include "trainer/checkpoint.hpp"
#include "trainer/random.hpp"

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

/// Noisy copies of one random image per class: learnable, but not at once.
Dataset make_data(std::size_t train_count = 500, std::size_t test_count = 203) {
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

TrainOptions small_options() {
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
std::vector<Outcome> run_ranks(int ranks, const RankFunction& function) {
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

Outcome train_ranks(int ranks, const TrainOptions& options, const Dataset& data) {
  auto outcomes = run_ranks(ranks, [&](Communicator comm, const ProgressCallback& progress) {
    return train(std::move(comm), options, data, progress);
  });
  for (const auto& outcome : outcomes) {
    EXPECT_FALSE(outcome.error) << outcome.error->what();
    if (outcome.error) return outcome;
    EXPECT_EQ(outcome.report->weights_fingerprint, outcomes[0].report->weights_fingerprint);
    EXPECT_EQ(outcome.report->test_accuracy, outcomes[0].report->test_accuracy);
    EXPECT_EQ(outcome.losses, outcomes[0].losses);
    EXPECT_TRUE(outcome.report->replicas_identical);
  }
  return outcomes[0];
}

class EveryCodec : public testing::TestWithParam<const char*> {};

TEST_P(EveryCodec, learns_and_repeats_bit_for_bit) {
  const Dataset data = make_data();
  for (const bool overlap : {false, true}) {
    TrainOptions options = small_options();
    options.codec = GetParam();
    options.overlap = overlap;
    options.bucket_bytes = overlap ? 4096 : 0;
    const Outcome first = train_ranks(3, options, data);
    const Outcome second = train_ranks(3, options, data);
    EXPECT_EQ(first.report->weights_fingerprint, second.report->weights_fingerprint);
    EXPECT_GT(first.report->test_accuracy, 0.9);
    EXPECT_LT(first.losses.back(), 0.5 * first.losses.front());
    EXPECT_GT(first.report->wire_bytes_per_step, 0);
    options.seed = 2;
    EXPECT_NE(first.report->weights_fingerprint, train_ranks(3, options, data).report->weights_fingerprint);
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, EveryCodec,
                         testing::Values("none", "fp16", "bf16", "onebit", "onebit:scale=l2"));

class WorkerCount : public testing::TestWithParam<int> {};

TEST_P(WorkerCount, matches_one_worker_with_the_same_global_batch) {
  const Dataset data = make_data();
  TrainOptions options = small_options();
  options.steps = 100;  // over several epochs, whose last batches are uneven
  options.batch = 24;
  options.sgd.momentum = 0.5F;
  const Outcome one = train_ranks(1, options, data);
  options.batch = 24 / static_cast<std::size_t>(GetParam());
  const Outcome many = train_ranks(GetParam(), options, data);
  ASSERT_EQ(one.losses.size(), 100U);
  ASSERT_EQ(many.losses.size(), 100U);
  for (std::size_t i = 0; i < one.losses.size(); ++i) {
    EXPECT_NEAR(many.losses[i], one.losses[i], 1e-5 * one.losses[i]) << "step " << i + 1;
  }
}

INSTANTIATE_TEST_SUITE_P(Workers, WorkerCount, testing::Values(2, 3, 4, 8));

TEST(TrainingRun, one_rank_trains_too) {
  TrainOptions options = small_options();
  options.codec = "onebit";
  options.steps = 200;
  EXPECT_GT(train_ranks(1, options, make_data()).report->test_accuracy, 0.9);
}

TEST(TrainingRun, epochs_have_the_steps_that_visit_every_sample) {
  TrainOptions options = small_options();
  options.steps = 0;
  options.epochs = 2;
  options.eval_every = 10;
  const Outcome outcome = train_ranks(4, options, make_data());
  const TrainReport& report = *outcome.report;
  EXPECT_EQ(report.steps, 32U);  // 500 samples in batches of 32: 15 whole ones and a rest
  ASSERT_EQ(report.epochs.size(), 2U);
  EXPECT_EQ(report.epochs[1].epoch, 2U);
  EXPECT_EQ(report.epochs[1].test_accuracy, report.test_accuracy);
  EXPECT_NEAR(report.epochs[1].cumulative_seconds, report.epochs[0].seconds + report.epochs[1].seconds, 1e-9);
  std::vector<std::uint64_t> steps;
  for (const auto& evaluation : report.evaluations) steps.push_back(evaluation.step);
  EXPECT_EQ(steps, (std::vector<std::uint64_t>{10, 16, 20, 30, 32}));
}

TEST(TrainingRun, warm_start_begins_uncompressed) {
  const Dataset data = make_data();
  TrainOptions options = small_options();
  options.steps = 20;
  const auto plain = train_ranks(2, options, data).report->weights_fingerprint;
  options.codec = "onebit";
  const auto compressed = train_ranks(2, options, data).report->weights_fingerprint;
  options.warm_start = 20;
  EXPECT_EQ(train_ranks(2, options, data).report->weights_fingerprint, plain);
  options.warm_start = 19;
  const auto mixed = train_ranks(2, options, data).report->weights_fingerprint;
  EXPECT_NE(mixed, plain);
  EXPECT_NE(mixed, compressed);
}

TEST(TrainingRun, feedback_can_be_switched_off) {
  const Dataset data = make_data();
  TrainOptions options = small_options();
  options.codec = "onebit";
  const auto with = train_ranks(2, options, data).report->weights_fingerprint;
  options.error_feedback = false;
  EXPECT_NE(with, train_ranks(2, options, data).report->weights_fingerprint);
}

struct Resumption {
  const char* name;
  const char* codec;
  std::uint64_t stop;
  std::uint64_t warm_start;
};

class Resume : public testing::TestWithParam<Resumption> {};

TEST_P(Resume, is_bit_identical_to_an_uninterrupted_run) {
  const TemporaryFolder folder;
  const Dataset data = make_data();
  TrainOptions options = small_options();
  options.codec = GetParam().codec;
  options.warm_start = GetParam().warm_start;
  const Outcome uninterrupted = train_ranks(3, options, data);

  options.checkpoint = (folder.path() / "model").string();
  options.steps = GetParam().stop;
  train_ranks(3, options, data);
  options.resume = options.checkpoint;
  options.checkpoint.clear();
  options.steps = 60;
  const Outcome resumed = train_ranks(3, options, data);

  EXPECT_EQ(resumed.report->weights_fingerprint, uninterrupted.report->weights_fingerprint);
  EXPECT_EQ(resumed.report->steps, 60 - GetParam().stop);
  EXPECT_EQ(resumed.report->epochs.back().epoch, uninterrupted.report->epochs.back().epoch);
  EXPECT_EQ(resumed.report->epochs.back().train_loss, uninterrupted.report->epochs.back().train_loss);
}

INSTANTIATE_TEST_SUITE_P(
    Runs, Resume,
    testing::Values(Resumption{"plain", "none", 25, 0}, Resumption{"onebit", "onebit", 25, 0},
                    Resumption{"end_of_epoch", "onebit", 42, 0},
                    Resumption{"in_warm_start", "onebit", 25, 30}, Resumption{"at_its_end", "onebit", 30, 30},
                    Resumption{"after_it", "onebit", 35, 30}, Resumption{"fp16", "fp16", 25, 0}),
    [](const auto& instance) { return std::string(instance.param.name); });

TEST(TrainingRun, residuals_are_part_of_a_checkpoint) {
  const TemporaryFolder folder;
  const Dataset data = make_data();
  TrainOptions options = small_options();
  options.codec = "onebit";
  const auto uninterrupted = train_ranks(2, options, data).report->weights_fingerprint;
  options.steps = 25;
  options.checkpoint = (folder.path() / "model").string();
  train_ranks(2, options, data);
  options.seed = 2;
  options.checkpoint = (folder.path() / "other").string();
  train_ranks(2, options, data);
  options.seed = small_options().seed;
  options.checkpoint.clear();
  options.resume = (folder.path() / "model").string();
  options.steps = 60;
  // With the residuals of another run: a resume that ignored them would not notice.
  const auto path = checkpoint_path(options.resume, 1);
  Checkpoint changed = read_checkpoint(path);
  changed.reducer_state =
      read_checkpoint(checkpoint_path((folder.path() / "other").string(), 1)).reducer_state;
  write_checkpoint(path, changed);
  publish_checkpoint(path);
  EXPECT_NE(train_ranks(2, options, data).report->weights_fingerprint, uninterrupted);
}

void expect_errors(const std::vector<Outcome>& outcomes, ErrorCode code, const std::string& reason) {
  for (std::size_t rank = 0; rank < outcomes.size(); ++rank) {
    ASSERT_TRUE(outcomes[rank].error) << "rank " << rank << " succeeded";
    EXPECT_EQ(outcomes[rank].error->code(), code) << "rank " << rank << ": " << outcomes[rank].error->what();
    EXPECT_THAT(outcomes[rank].error->what(), HasSubstr(reason)) << "rank " << rank;
  }
}

TEST_P(EveryCodec, a_nan_on_one_rank_ends_all_ranks) {
  const Dataset data = make_data();
  Dataset poisoned = data;
  poisoned.normalized.fill(std::numeric_limits<float>::quiet_NaN());
  TrainOptions options = small_options();
  options.codec = GetParam();
  expect_errors(run_ranks(3,
                          [&](Communicator comm, const ProgressCallback& progress) {
                            const bool bad = comm.rank() == 1;
                            return train(std::move(comm), options, bad ? poisoned : data, progress);
                          }),
                ErrorCode::non_finite, "");
}

TEST_P(EveryCodec, divergence_ends_all_ranks) {
  TrainOptions options = small_options();
  options.codec = GetParam();
  options.sgd.learning_rate = 1e20F;
  const Dataset data = make_data();
  expect_errors(run_ranks(2,
                          [&](Communicator comm, const ProgressCallback& progress) {
                            return train(std::move(comm), options, data, progress);
                          }),
                ErrorCode::non_finite, "");
}

TEST(TrainingRun, ranks_with_different_options_are_told_so) {
  const Dataset data = make_data();
  expect_errors(run_ranks(3,
                          [&](Communicator comm, const ProgressCallback& progress) {
                            TrainOptions options = small_options();
                            if (comm.rank() == 2) options.batch = 9;
                            return train(std::move(comm), options, data, progress);
                          }),
                ErrorCode::invalid_argument, "different options");
}

TEST(TrainingRun, checkpoints_of_other_runs_are_refused) {
  const TemporaryFolder folder;
  const Dataset data = make_data();
  TrainOptions options = small_options();
  options.steps = 3;
  options.checkpoint = (folder.path() / "model").string();
  train_ranks(2, options, data);
  options.resume = options.checkpoint;
  options.checkpoint.clear();
  const auto resume = [&](int ranks) {
    return run_ranks(ranks, [&](Communicator comm, const ProgressCallback& progress) {
      return train(std::move(comm), options, data, progress);
    });
  };
  expect_errors(resume(2), ErrorCode::invalid_argument, "at step 3 and the run ends at step 3");
  options.steps = 6;
  options.hidden = {48};
  expect_errors(resume(2), ErrorCode::invalid_argument, "layer widths 64-48-32-5, this run has 64-48-5");
  options.hidden = small_options().hidden;
  expect_errors(resume(1), ErrorCode::invalid_argument, "ranks of 2, this run has 1");

  Checkpoint second = read_checkpoint(checkpoint_path(options.resume, 1));
  second.step = 2;
  write_checkpoint(checkpoint_path(options.resume, 1), second);
  publish_checkpoint(checkpoint_path(options.resume, 1));
  expect_errors(resume(2), ErrorCode::invalid_argument, "not of the same step");
}

TEST(TrainingRun, refuses_options_without_sense) {
  const auto message = [](const auto& change) -> std::string {
    TrainOptions options = small_options();
    change(options);
    try {
      validate(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message([](TrainOptions&) {}), "accepted");
  EXPECT_THAT(message([](TrainOptions& o) { o.batch = 0; }), HasSubstr("--batch is 0"));
  EXPECT_THAT(message([](TrainOptions& o) { o.hidden = {512, 0}; }), HasSubstr("--hidden is 512,0"));
  EXPECT_THAT(message([](TrainOptions& o) { o.sgd.learning_rate = -1; }), HasSubstr("--lr is -1"));
  EXPECT_THAT(message([](TrainOptions& o) { o.sgd.learning_rate = NAN; }), HasSubstr("--lr is nan"));
  EXPECT_THAT(message([](TrainOptions& o) { o.sgd.momentum = 1; }), HasSubstr("--momentum is 1"));
  EXPECT_THAT(message([](TrainOptions& o) { o.sgd.weight_decay = -1; }), HasSubstr("--weight-decay"));
  EXPECT_THAT(message([](TrainOptions& o) { o.steps = o.epochs = 0; }), HasSubstr("nothing to train"));
  EXPECT_THAT(message([](TrainOptions& o) { o.checkpoint_every = 5; }), HasSubstr("--checkpoint FILE"));
}

}  // namespace
}  // namespace gradwire::trainer
