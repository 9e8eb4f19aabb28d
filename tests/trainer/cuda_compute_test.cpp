#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "cuda_on_host_test.hpp"
#include "gradwire/error.hpp"
#include "trainer/device/device_compute.hpp"
#include "trainer/device_choice.hpp"
#include "trainer/host_compute.hpp"
#include "trainer/host_view.hpp"
#include "trainer/loss_slot.hpp"
#include "trainer/mlp.hpp"
#include "trainer/random.hpp"
#include "trainer/sgd.hpp"
#include "trainer/softmax_loss.hpp"

// What trains on a GPU, with the CUDA of tests/compress/cuda_on_host and a cuBLAS of the tests: whole steps
// against the host's, and what CUDA may refuse. device_compute_test.cpp has the operations one by one.

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

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

TEST_F(CudaComputeOnHost, WhatCrossesIsWaitedForWhenItIsLookedAt) {
  const auto device = make_device_compute(0);
  Floats floats(*device, 100);
  HostView view(*device, floats.span());
  LossSlot loss(*device);
  Floats others(*device, 100);
  Sgd sgd(*device, 100, {.learning_rate = 1, .momentum = 0, .weight_decay = 0});
  EXPECT_EQ(view.values()[7], 0);
  view.values()[7] = 3;
  view.store();
  loss.set(2.5);
  EXPECT_EQ(waits(), 0);
  EXPECT_TRUE(sgd.step(others.span(), floats.span()));
  EXPECT_EQ(waits(), 1);
  // The last wait was for that, too.
  view.values()[7] = 4;
  view.fetch();
  loss.fetch();
  EXPECT_EQ(waits(), 1);
  EXPECT_EQ(view.values()[7], 3);
  EXPECT_EQ(loss.get(), 2.5);
  EXPECT_EQ(waits(), 2);
  view.store();
  view.values()[7] = 5;
  EXPECT_EQ(waits(), 3);
  std::vector<float> there(100);
  device->download(floats.span(), there);
  EXPECT_EQ(there[7], 3);
}

TEST_F(CudaComputeOnHost, MemoryIsGivenBackWhenAllIsDone) {
  const auto device = make_device_compute(0);
  Floats kept(*device, 100);
  {
    Floats floats(*device, 100);
    HostView view(*device, floats.span());
    device->copy(floats.span(), kept.span());
    view.store();
  }
  EXPECT_GT(waits(), 0);
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

TEST_F(CudaComputeOnHost, SaysWhatCublasRefuses) {
  const auto device = make_device_compute(0);
  const auto refusal = [&](int m, int k) -> std::string {
    try {
      device->gemm(Transpose::no, Transpose::no, 1, m, k, nullptr, nullptr, nullptr);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::system);
      return error.what();
    }
    return "none";
  };
  EXPECT_THAT(refusal(3, -1), HasSubstr("cuBLAS could not start a 1x3x-1 matrix product: "
                                        "CUBLAS_STATUS_INVALID_VALUE"));
  EXPECT_THAT(refusal(1 << 21, 1), HasSubstr("CUBLAS_STATUS_ALLOC_FAILED"));
  EXPECT_THAT(refusal(1 << 21, 1), HasSubstr("free memory there"));
}

TEST_F(CudaComputeOnHost, SaysWhatDevicesThereAre) {
  EXPECT_EQ(usable_devices(), cuda_on_host::kDevices);
  EXPECT_NO_THROW(require_device(parse_device("cuda")));
  EXPECT_NO_THROW(require_device(parse_device("cuda:1")));
  EXPECT_THROW(require_device(parse_device("cuda:2")), Error);
  const auto refusal = [](const char* device) -> std::string {
    try {
      require_device(parse_device(device));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      return error.what();
    }
    return "none";
  };
  cuda_on_host::world().majors = {8, 7};
  EXPECT_EQ(refusal("cuda:0"), "none");
  // Where ranks take devices in turn, one of them would get it.
  for (const char* device : {"cuda", "cuda:1"}) {
    EXPECT_THAT(refusal(device), HasSubstr("CUDA device 1 (the host) has compute capability 7.0, and this "
                                           "build's kernels are for 8.0, 9.0"));
    EXPECT_THAT(refusal(device), HasSubstr("CUDA_VISIBLE_DEVICES"));
  }
  constexpr int kNoDevice = 100;
  refuse("cudaGetDeviceCount", kNoDevice);
  EXPECT_THAT(refusal("cuda"), HasSubstr("use --device cpu"));
}

}  // namespace
}  // namespace gradwire::trainer
