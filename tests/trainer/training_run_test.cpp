#include "trainer/training_run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/error.hpp"
#include "rank_threads.hpp"

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

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

TEST_P(EveryCodec, a_nan_on_one_rank_ends_all_ranks) {
  const Dataset data = make_data();
  Dataset poisoned = data;
  poisoned.normalized.fill(std::numeric_limits<float>::quiet_NaN());
  TrainOptions options = small_options();
  options.codec = GetParam();
  expect_errors(run_ranks(3,
                          [&](Communicator comm, const ProgressCallback& progress) {
                            const bool bad = comm.rank() == 1;
                            return train(RankGroup(std::move(comm)), options, bad ? poisoned : data,
                                         progress);
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
                            return train(RankGroup(std::move(comm)), options, data, progress);
                          }),
                ErrorCode::non_finite, "in step");
}

TEST(TrainingRun, ranks_with_different_options_are_told_so) {
  const Dataset data = make_data();
  expect_errors(run_ranks(3,
                          [&](Communicator comm, const ProgressCallback& progress) {
                            TrainOptions options = small_options();
                            if (comm.rank() == 2) options.batch = 9;
                            return train(RankGroup(std::move(comm)), options, data, progress);
                          }),
                ErrorCode::invalid_argument, "ranks 0 and 2 were given different --batch");
}

TEST(TrainingRun, refuses_options_without_sense) {
  const auto message = [](const auto& change) -> std::string {
    TrainOptions options = small_options();
    change(options);
    try {
      validate(options, 2);
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
