#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices.hpp"
#include "gradwire/error.hpp"
#include "gradwire/parameter_server.hpp"
#include "rank_threads.hpp"
#include "trainer/device/device_compute.hpp"
#include "trainer/device_choice.hpp"
#include "trainer/gemm.hpp"
#include "trainer/host_compute.hpp"
#include "trainer/host_view.hpp"
#include "trainer/mlp.hpp"
#include "trainer/random.hpp"
#include "trainer/sgd.hpp"
#include "trainer/softmax_loss.hpp"

// What trains on a GPU, with the CUDA of tests/compress/cuda_on_host and a cuBLAS of the tests: whole steps
// against the host's, and what CUDA may refuse. device_compute_test.cpp has the operations one by one.

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

class CudaComputeOnHost : public testing::Test {
 protected:
  CudaComputeOnHost() { set_gemm_threads(1); }
  ~CudaComputeOnHost() override {
    cuda_on_host::world().refusals.clear();
    EXPECT_TRUE(cuda_on_host::world().memory.empty()) << "memory was not given back";
    EXPECT_TRUE(cuda_on_host::world().streams.empty()) << "a stream was not given back";
  }

  static void refuse(const std::string& function, int status) {
    cuda_on_host::world().refusals[function] = status;
  }
};

/// A model with its optimizer, and a step of it.
class Trained {
 public:
  explicit Trained(Compute& compute) : compute_(compute) { model_.initialize(3); }

  double step(std::span<const float> inputs, std::span<const std::uint8_t> labels, bool& finite) {
    const std::size_t rows = labels.size();
    std::ranges::copy(inputs, model_.inputs().begin());
    const auto logits = model_.forward(rows);
    correct_ = score(fetched(logits), 5, labels).correct;
    const double loss = compute_.softmax_cross_entropy(logits, 5, labels, 0.25F);
    std::size_t ready = 0;
    model_.backward(rows, [&](int) { ++ready; });
    EXPECT_EQ(ready, model_.parameters().size());
    finite = sgd_.step(model_.weights(), model_.gradients());
    return loss;
  }

  std::vector<float> fetched(std::span<const float> values) const {
    std::vector<float> copy(values.size());
    compute_.download(values, copy);
    return copy;
  }
  [[nodiscard]] std::size_t correct() const { return correct_; }
  [[nodiscard]] std::vector<float> weights() { return fetched(model_.weights()); }
  [[nodiscard]] std::vector<float> gradients() { return fetched(model_.gradients()); }

 private:
  Compute& compute_;
  Mlp model_{compute_, {20, 33, 9, 5}, 40};
  Sgd sgd_{
      compute_, model_.weights().size(), {.learning_rate = 0.05F, .momentum = 0.9F, .weight_decay = 0.01F}};
  std::size_t correct_ = 0;
};

void expect_near(const std::vector<float>& values, const std::vector<float>& expected, float error) {
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], expected[i], error) << i;
}

/// Batches grow and shrink, so that what earlier ones left beyond their ends would be seen.
TEST_F(CudaComputeOnHost, StepsAsTheHost) {
  HostCompute host;
  const auto device = make_device_compute(1);
  Trained expected(host);
  Trained trained(*device);
  expect_near(trained.weights(), expected.weights(), 0);
  Random random(7);
  for (const std::size_t rows : {32U, 1U, 7U, 40U, 0U, 33U, 3U, 39U}) {
    std::vector<float> inputs(rows * 20);
    for (float& input : inputs) input = static_cast<float>(random.normal());
    std::vector<std::uint8_t> labels(rows);
    for (auto& label : labels) label = static_cast<std::uint8_t>(random.below(5));
    SCOPED_TRACE(testing::Message() << rows << " rows");
    // As the library may leave it.
    cuda_on_host::world().device = 0;
    bool finite = false;
    const double due = expected.step(inputs, labels, finite);
    EXPECT_TRUE(finite);
    EXPECT_NEAR(trained.step(inputs, labels, finite), due, 1e-4);
    EXPECT_TRUE(finite);
    EXPECT_EQ(trained.correct(), expected.correct());
    expect_near(trained.gradients(), expected.gradients(), 2e-5F);
    expect_near(trained.weights(), expected.weights(), 1e-5F);
  }
}

TEST_F(CudaComputeOnHost, OneNanIsSeenAndStaysInItsRow) {
  constexpr std::size_t kClasses = 5;
  HostCompute host;
  const auto device = make_device_compute(0);
  const std::vector<std::uint8_t> labels{4, 0, 2};
  for (std::size_t place = 0; place < kClasses; ++place) {
    std::vector<float> expected(labels.size() * kClasses, 0.5F);
    expected[kClasses + place] = std::numeric_limits<float>::quiet_NaN();
    Floats logits(*device, expected.size());
    device->upload(expected, logits.span());
    EXPECT_TRUE(std::isnan(device->softmax_cross_entropy(logits.span(), kClasses, labels, 1)));
    EXPECT_FALSE(device->is_finite(logits.span()));
    EXPECT_TRUE(std::isnan(host.softmax_cross_entropy(expected, kClasses, labels, 1)));
    std::vector<float> gradients(expected.size());
    device->download(logits.span(), gradients);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      EXPECT_EQ(std::isnan(gradients[i]), i / kClasses == 1) << i;
      EXPECT_EQ(std::isnan(expected[i]), i / kClasses == 1) << i;
    }
    EXPECT_TRUE(device->is_finite(logits.span().first(kClasses)));
    EXPECT_TRUE(device->is_finite(logits.span().last(kClasses)));
  }

  Trained trained(*device);
  std::vector<float> inputs(std::size_t{3} * 20, 0.5F);
  bool finite = false;
  EXPECT_TRUE(std::isfinite(trained.step(inputs, labels, finite)));
  EXPECT_TRUE(finite);
  inputs[21] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(trained.step(inputs, labels, finite)));
  EXPECT_FALSE(finite);
}

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
  constexpr const char* kFree = "free memory on the device, train with fewer ranks on it";
  expect_refusal("cudaMalloc", kOutOfMemory, "bytes on the device", kFree);
  expect_refusal("cudaStreamCreateWithFlags", kFailed, "could not make a stream", "nvidia-smi");
  expect_refusal("cudaMemcpyAsync", kFailed, "could not start a copy", "compute-sanitizer finds it");
  expect_refusal("cudaFuncGetAttributes", 209, "could not load a kernel", "CMAKE_CUDA_ARCHITECTURES");
}

TEST_F(CudaComputeOnHost, ModelsLargerThanTheDeviceAreRefused) {
  const auto device = make_device_compute(0);
  try {
    const Mlp model(*device, {20, 1 << 23, 5}, 40);
    FAIL() << "fits";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::system);
    EXPECT_THAT(error.what(), HasSubstr("bytes on the device"));
    EXPECT_THAT(error.what(), HasSubstr("a smaller --hidden or --batch"));
  }
}

TEST_F(CudaComputeOnHost, SaysWhatDevicesThereAre) {
  EXPECT_EQ(usable_devices(), cuda_on_host::kDevices);
  EXPECT_NO_THROW(require_device(parse_device("cuda")));
  EXPECT_NO_THROW(require_device(parse_device("cuda:1")));
  EXPECT_THROW(require_device(parse_device("cuda:2")), Error);
  constexpr int kNoDevice = 100;
  refuse("cudaGetDeviceCount", kNoDevice);
  try {
    require_device(parse_device("cuda"));
    FAIL() << "was found";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("use --device cpu"));
  }
}

}  // namespace
}  // namespace gradwire::trainer
