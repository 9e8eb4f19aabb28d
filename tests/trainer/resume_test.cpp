#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "gradwire/error.hpp"
#include "rank_threads.hpp"
#include "tests/support/temporary_folder.hpp"
#include "trainer/checkpoint.hpp"

namespace gradwire::trainer {
namespace {

Checkpoint read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return parse_checkpoint(std::string(std::istreambuf_iterator<char>(file), {}), path.string());
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
  Checkpoint changed = read_file(path);
  changed.reducer_state = read_file(checkpoint_path((folder.path() / "other").string(), 1)).reducer_state;
  write_checkpoint(path, changed);
  publish_checkpoint(path);
  EXPECT_NE(train_ranks(2, options, data).report->weights_fingerprint, uninterrupted);
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
      return train(RankGroup(std::move(comm)), options, data, progress);
    });
  };
  expect_errors(resume(2), ErrorCode::invalid_argument, "at step 3 and the run ends at step 3");
  options.steps = 6;
  options.hidden = {48};
  expect_errors(resume(2), ErrorCode::invalid_argument, "layer widths 64-48-32-5, this run has 64-48-5");
  options.hidden = small_options().hidden;
  expect_errors(resume(1), ErrorCode::invalid_argument, "ranks of 2, this run has 1");

  Checkpoint second = read_file(checkpoint_path(options.resume, 1));
  second.step = 2;
  write_checkpoint(checkpoint_path(options.resume, 1), second);
  publish_checkpoint(checkpoint_path(options.resume, 1));
  expect_errors(resume(2), ErrorCode::invalid_argument, "not of the same step");
}

/// The files of two ranks, at steps 25 and 30 of a run of 60, the way kills leave them behind.
class KilledWhilePublishing : public testing::Test {
 protected:
  KilledWhilePublishing() {
    options_.codec = "onebit";
    uninterrupted_ = train_ranks(2, options_, data_).report->weights_fingerprint;
    options_.checkpoint = (folder_.path() / "model").string();
    options_.steps = 25;
    train_ranks(2, options_, data_);
    for (const int rank : {0, 1}) std::filesystem::rename(path(rank), old(rank));
    options_.steps = 30;
    train_ranks(2, options_, data_);
    options_.resume = std::exchange(options_.checkpoint, {});
    options_.steps = 60;
  }

  [[nodiscard]] std::filesystem::path path(int rank) const {
    return checkpoint_path((folder_.path() / "model").string(), rank);
  }
  [[nodiscard]] std::filesystem::path old(int rank) const { return path(rank).string() + ".old"; }
  /// Takes back that the rank has published its file of step 30.
  void unpublish(int rank) { std::filesystem::rename(path(rank), unpublished_path(path(rank))); }
  void restore_old(int rank) { std::filesystem::copy_file(old(rank), path(rank)); }

  void expect_resumes_from(std::uint64_t step) {
    const auto resumed = train_ranks(2, options_, data_).report.value();
    EXPECT_EQ(resumed.weights_fingerprint, uninterrupted_);
    EXPECT_EQ(resumed.steps, 60 - step);
  }
  void expect_refused() {
    expect_errors(run_ranks(2,
                            [&](Communicator comm, const ProgressCallback& progress) {
                              return train(RankGroup(std::move(comm)), options_, data_, progress);
                            }),
                  ErrorCode::invalid_argument, "not of the same step");
  }

  const TemporaryFolder folder_;
  const Dataset data_ = make_data();
  TrainOptions options_ = small_options();
  std::uint64_t uninterrupted_ = 0;
};

TEST_F(KilledWhilePublishing, goes_on_from_the_new_files) {
  for (const int late : {0, 1}) {
    unpublish(late);
    restore_old(late);
    expect_resumes_from(30);
    EXPECT_FALSE(std::filesystem::exists(unpublished_path(path(late))))
        << "the next checkpoint would be written over the only file of this one";
    EXPECT_EQ(read_file(path(late)).step, 30U);
  }
}

TEST_F(KilledWhilePublishing, also_when_there_was_no_file_before) {
  unpublish(1);
  expect_resumes_from(30);
  unpublish(0);
  unpublish(1);
  expect_resumes_from(30);
}

TEST_F(KilledWhilePublishing, keeps_to_the_old_files_when_nobody_has_published) {
  for (const int rank : {0, 1}) {
    unpublish(rank);
    restore_old(rank);
  }
  std::filesystem::resize_file(unpublished_path(path(1)), 100);
  expect_resumes_from(25);
}

TEST_F(KilledWhilePublishing, refuses_what_is_incomplete) {
  unpublish(1);
  restore_old(1);
  const auto written = unpublished_path(path(1));
  std::filesystem::resize_file(written, std::filesystem::file_size(written) - 1);
  expect_refused();
  std::filesystem::remove(written);
  expect_refused();
}

}  // namespace
}  // namespace gradwire::trainer
