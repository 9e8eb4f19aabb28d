#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>

#include "cuda_on_host_test.hpp"
#include "gradwire/error.hpp"
#include "gradwire/parameter_server.hpp"
#include "rank_threads.hpp"

// Training on a GPU as cuda_compute_test.cpp has it, against training on the host.

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

/// Of the modes those that hand the library what the host sees: devices of the library are not these.
class CudaTrainingOnHost : public CudaComputeOnHost, public testing::WithParamInterface<Mode> {
 protected:
  CudaTrainingOnHost() {
    options_.mode = GetParam();
    options_.job = "cuda-on-host";
    options_.modes.period = 5;
    options_.steps = 70;
    options_.eval_every = 20;
    options_.sgd = {.learning_rate = 0.05F, .momentum = 0.5F, .weight_decay = 0};
  }

  Outcome run(const std::string& device) {
    ParameterServerOptions server_options;
    server_options.job = options_.job;
    ParameterServer server(server_options);
    TrainOptions options = options_;
    options.modes.server_addresses = {server.address()};
    options.device = device;
    return run_ranks(1, [&](Communicator comm, const ProgressCallback& progress) {
      return train(RankGroup(std::move(comm)), options, data_, progress);
    })[0];
  }

  TrainOptions options_ = small_options();
  Dataset data_ = make_data();
};
INSTANTIATE_TEST_SUITE_P(Modes, CudaTrainingOnHost, testing::Values(Mode::server, Mode::elastic),
                         [](const auto& test) { return test.param == Mode::server ? "server" : "elastic"; });

TEST_P(CudaTrainingOnHost, TrainsAsTheHost) {
  const Outcome expected = run("cpu");
  ASSERT_FALSE(expected.error) << expected.error->what();
  const Outcome outcome = run("cuda:1");
  ASSERT_FALSE(outcome.error) << outcome.error->what();
  EXPECT_EQ(outcome.report->options.device, "cuda:1");
  ASSERT_EQ(outcome.losses.size(), expected.losses.size());
  for (std::size_t i = 0; i < outcome.losses.size(); ++i) {
    EXPECT_NEAR(outcome.losses[i], expected.losses[i], 1e-3) << "step " << i + 1;
  }
  EXPECT_GT(outcome.report->test_accuracy, 0.6);
  EXPECT_EQ(outcome.report->test_accuracy, expected.report->test_accuracy);
}

/// Once for the loss and once for the backward pass in each step, and for what the mode has to know: of each
/// of 6 gradients whether it is finite, or of all and once in a period the weights.
TEST_P(CudaTrainingOnHost, WaitsNoMoreOftenThanItHasTo) {
  options_.eval_every = 0;
  const auto waits_of = [&](std::uint64_t steps) {
    options_.steps = steps;
    const int before = waits();
    const Outcome outcome = run("cuda:0");
    EXPECT_FALSE(outcome.error) << outcome.error->what();
    return waits() - before;
  };
  const int of_twenty = waits_of(20);
  EXPECT_EQ(waits_of(30) - of_twenty, GetParam() == Mode::server ? 10 * (2 + 6) : 10 * (2 + 1) + 2);
}

TEST_P(CudaTrainingOnHost, ANanEndsIt) {
  data_.normalized.fill(std::numeric_limits<float>::quiet_NaN());
  const Outcome outcome = run("cuda");
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code(), ErrorCode::non_finite);
}

TEST_P(CudaTrainingOnHost, SaysWhatCudaRefuses) {
  constexpr int kOutOfMemory = 2;
  constexpr int kFailed = 719;
  const auto expect_refusal = [&](const char* function, int status, const char* what, const char* advice) {
    cuda_on_host::world().refusals.clear();
    refuse(function, status);
    const Outcome outcome = run("cuda:0");
    ASSERT_TRUE(outcome.error) << function;
    EXPECT_EQ(outcome.error->code(), ErrorCode::system) << function;
    EXPECT_THAT(outcome.error->what(), HasSubstr(what));
    EXPECT_THAT(outcome.error->what(), HasSubstr(advice));
  };
  constexpr const char* kFree = "free memory there: train with fewer ranks on the device";
  expect_refusal("cudaMalloc", kOutOfMemory, "bytes on the device", kFree);
  expect_refusal("cudaMallocHost", kOutOfMemory, "bytes of pinned memory", kFree);
  expect_refusal("cudaStreamCreateWithFlags", kFailed, "could not make a stream", "nvidia-smi");
  expect_refusal("cudaMemcpyAsync", kFailed, "could not start a copy", "compute-sanitizer finds it");
  expect_refusal("cudaFuncGetAttributes", 209, "could not load a kernel", "CMAKE_CUDA_ARCHITECTURES");
}

}  // namespace
}  // namespace gradwire::trainer
