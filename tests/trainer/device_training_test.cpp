#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/error.hpp"
#include "gradwire/parameter_server.hpp"
#include "on_device.hpp"
#include "rank_threads.hpp"
#include "tests/support/temporary_folder.hpp"
#include "trainer/device_choice.hpp"

// Training on a CUDA device against training on the host: with the same bits where the device is emulated,
// with losses that agree to 1e-3 on a GPU.

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

struct DeviceCase {
  const char* name;
  Mode mode;
  int ranks = 2;
  std::uint64_t delay = 0;
  bool overlap = false;
};

class EveryModeOnDevice : public OnDevice, public testing::WithParamInterface<DeviceCase> {
 protected:
  EveryModeOnDevice() {
    options_.mode = GetParam().mode;
    options_.modes.delay = GetParam().delay;
    options_.modes.period = 5;
    options_.modes.group_size = GetParam().ranks;
    options_.overlap = GetParam().overlap;
    options_.bucket_bytes = options_.overlap ? 4096 : 0;
    options_.steps = 50;
    options_.sgd = {.learning_rate = 0.05F, .momentum = 0.5F, .weight_decay = 0};
    options_.eval_every = 20;
  }

  /// `devices`: of each rank.
  std::vector<Outcome> run(const std::vector<std::string>& devices) {
    TrainOptions options = options_;
    std::vector<ParameterServer> servers;
    if (uses_servers(options.mode)) {
      options.job = "devices";
      ParameterServerOptions server;
      server.job = options.job;
      options.modes.server_addresses = {servers.emplace_back(server).address()};
    }
    return run_ranks(static_cast<int>(devices.size()),
                     [&](Communicator comm, const ProgressCallback& progress) {
                       TrainOptions own = options;
                       own.device = devices[static_cast<std::size_t>(comm.rank())];
                       return train(RankGroup(std::move(comm)), own, data_, progress);
                     });
  }

  TrainOptions options_ = small_options();
  Dataset data_ = make_data();
};
// Those whose ranks wait for each other, or have nobody to wait for: their results are the same in every run.
INSTANTIATE_TEST_SUITE_P(Modes, EveryModeOnDevice,
                         testing::Values(DeviceCase{"allreduce", Mode::allreduce, 3},
                                         DeviceCase{"overlapped", Mode::allreduce, 2, 0, true},
                                         DeviceCase{"delayed", Mode::allreduce, 2, 1},
                                         DeviceCase{"server", Mode::server}, DeviceCase{"local", Mode::local},
                                         DeviceCase{"bmuf", Mode::bmuf},
                                         DeviceCase{"elastic", Mode::elastic, 1},
                                         DeviceCase{"groups", Mode::groups}),
                         [](const auto& test) { return test.param.name; });

TEST_P(EveryModeOnDevice, TrainsAsOnTheHost) {
  const auto ranks = static_cast<std::size_t>(GetParam().ranks);
  for (const char* codec : {"none", "fp16", "onebit"}) {
    SCOPED_TRACE(codec);
    options_.codec = codec;
    const auto expected = run(std::vector<std::string>(ranks, "cpu"));
    for (const auto& outcome : expected) ASSERT_FALSE(outcome.error) << outcome.error->what();
    std::vector<std::string> mixed(ranks, "cuda:0");
    mixed.back() = "cpu";
    for (const auto& devices : {std::vector<std::string>(ranks, "cuda:0"), mixed}) {
      const auto outcomes = run(devices);
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        ASSERT_FALSE(outcomes[rank].error) << outcomes[rank].error->what();
        EXPECT_EQ(outcomes[rank].report->options.device, devices[rank]);
        ASSERT_EQ(outcomes[rank].losses.size(), expected[rank].losses.size());
        for (std::size_t i = 0; i < outcomes[rank].losses.size(); ++i) {
          EXPECT_NEAR(outcomes[rank].losses[i], expected[rank].losses[i], kSameBits ? 0 : 1e-3)
              << "rank " << rank << ", step " << i + 1;
        }
        EXPECT_EQ(outcomes[rank].report->replicas_identical, expected[rank].report->replicas_identical);
        if (!uses_servers(options_.mode)) {
          EXPECT_EQ(outcomes[rank].report->wire_bytes_per_step, expected[rank].report->wire_bytes_per_step);
        }
        if (!kSameBits) continue;
        EXPECT_EQ(outcomes[rank].report->weights_fingerprint, expected[rank].report->weights_fingerprint);
        EXPECT_EQ(outcomes[rank].report->test_accuracy, expected[rank].report->test_accuracy);
      }
    }
  }
}

TEST_P(EveryModeOnDevice, ANanEndsTheRanks) {
  data_.normalized.fill(std::numeric_limits<float>::quiet_NaN());
  const auto outcomes = run(std::vector<std::string>(static_cast<std::size_t>(GetParam().ranks), "cuda:0"));
  const bool was_seen = std::ranges::any_of(outcomes, [](const Outcome& outcome) {
    return outcome.error && outcome.error->code() == ErrorCode::non_finite;
  });
  EXPECT_TRUE(was_seen);
}

class TrainingOnDevice : public OnDevice {
 protected:
  TrainingOnDevice() { options_.device = "cuda:0"; }

  TrainOptions options_ = small_options();
  const Dataset data_ = make_data();
};

TEST_F(TrainingOnDevice, GoesOnFromACheckpointAsIfItHadNotStopped) {
  const TemporaryFolder folder;
  for (const char* codec : {"none", "onebit"}) {
    TrainOptions options = options_;
    options.codec = codec;
    const auto uninterrupted = train_ranks(2, options, data_).report->weights_fingerprint;
    options.checkpoint = (folder.path() / codec).string();
    options.steps = 25;
    train_ranks(2, options, data_);
    options.resume = std::exchange(options.checkpoint, {});
    options.steps = 60;
    EXPECT_EQ(train_ranks(2, options, data_).report->weights_fingerprint, uninterrupted) << codec;
    if (!kSameBits) continue;
    // A checkpoint does not say where it was written.
    options.device = "cpu";
    EXPECT_EQ(train_ranks(2, options, data_).report->weights_fingerprint, uninterrupted) << codec;
  }
}

TEST_F(TrainingOnDevice, RepeatsBitForBitUnderEveryCodec) {
  for (const char* codec : {"none", "fp16", "bf16", "onebit", "onebit:scale=l2"}) {
    options_.codec = codec;
    const Outcome first = train_ranks(2, options_, data_);
    EXPECT_GT(first.report->test_accuracy, 0.9) << codec;
    EXPECT_EQ(train_ranks(2, options_, data_).report->weights_fingerprint, first.report->weights_fingerprint)
        << codec;
  }
}

TEST_F(TrainingOnDevice, RanksOfAMachineTakeItsDevicesInTurn) {
  options_.steps = 2;
  const auto devices_of = [&](const std::vector<std::string>& asked) {
    const auto outcomes =
        run_ranks(static_cast<int>(asked.size()), [&](Communicator comm, const ProgressCallback& progress) {
          TrainOptions options = options_;
          options.device = asked[static_cast<std::size_t>(comm.rank())];
          return train(RankGroup(std::move(comm)), options, data_, progress);
        });
    std::vector<std::string> given;
    for (const Outcome& outcome : outcomes) {
      given.push_back(outcome.error ? outcome.error->what() : outcome.report->options.device);
    }
    return given;
  };
  const auto nth = [&](int number) { return "cuda:" + std::to_string(number % devices_); };
  EXPECT_EQ(devices_of({"cuda", "cuda", "cuda"}), (std::vector{nth(0), nth(1), nth(2)}));
  // Whoever is elsewhere, or says where, takes no turn.
  EXPECT_EQ(devices_of({"cpu", "cuda", "cuda:0", "cuda"}),
            (std::vector{std::string("cpu"), nth(0), nth(0), nth(1)}));
}

TEST_F(TrainingOnDevice, RefusesADeviceThatIsNotThere) {
  options_.device = "cuda:" + std::to_string(devices_);
  expect_errors(run_ranks(1,
                          [&](Communicator comm, const ProgressCallback& progress) {
                            return train(RankGroup(std::move(comm)), options_, data_, progress);
                          }),
                ErrorCode::invalid_argument, "--device is cuda:" + std::to_string(devices_) + ", and there ");
}

TEST(DeviceChoice, IsCpuOrCudaOrOneOfItsDevices) {
  EXPECT_FALSE(parse_device("cpu").is_cuda);
  EXPECT_TRUE(parse_device("cuda").is_cuda);
  EXPECT_EQ(parse_device("cuda").number, std::nullopt);
  EXPECT_EQ(parse_device("cuda:12").number, 12);
  for (const char* text : {"", "gpu", "cuda:", "cuda:-1", "cuda:1x", "cuda: 1", "cuda:99999999999", "CPU"}) {
    EXPECT_THROW((void)parse_device(text), Error) << text;
  }
}

#if !defined(GRADWIRE_EMULATES_CUDA) && !defined(GRADWIRE_HAS_CUDA)
TEST(DeviceChoice, IsRefusedByABuildWithoutCuda) {
  try {
    require_device(parse_device("cuda"));
    FAIL() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("use --device cpu, or configure with -DGRADWIRE_WITH_CUDA=ON"));
  }
}
#endif

}  // namespace
}  // namespace gradwire::trainer
