#include "trainer/device/device_compute.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "on_device.hpp"
#include "trainer/gemm.hpp"
#include "trainer/host_compute.hpp"
#include "trainer/random.hpp"

namespace gradwire::trainer {
namespace {

/// Each operation against the host's.
class DeviceOperations : public OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (devices_ > 0) device_ = make_device_compute(devices_ - 1);
  }

  static std::vector<float> random_values(std::size_t count, std::uint64_t seed) {
    Random random(seed);
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(random.normal());
    return values;
  }
  [[nodiscard]] Floats there(const std::vector<float>& values) const {
    Floats copy(*device_, values.size());
    device_->upload(values, copy.span());
    return copy;
  }
  [[nodiscard]] std::vector<float> here(const Floats& values) const {
    std::vector<float> copy(values.size());
    device_->download(values.span(), copy);
    return copy;
  }

  std::unique_ptr<Compute> device_;
  HostCompute host_;
};

TEST_F(DeviceOperations, MemoryIsZeroAndMoves) {
  Floats values(*device_, 1000);
  EXPECT_EQ(here(values), std::vector<float>(1000));
  const auto random = random_values(1000, 1);
  device_->upload(random, values.span());
  Floats copy(*device_, 1000);
  device_->copy(values.span(), copy.span());
  device_->clear(values.span().first(10));
  EXPECT_EQ(here(copy), random);
  auto cleared = random;
  std::fill_n(cleared.begin(), 10, 0.0F);
  EXPECT_EQ(here(values), cleared);
  EXPECT_FALSE(device_->tensor(values.span()).device.is_host());
}

TEST_F(DeviceOperations, MatrixProducts) {
  set_gemm_threads(1);
  for (const auto& [m, n, k] : {std::array{64, 512, 784}, std::array{7, 10, 33}, std::array{1, 1, 1}}) {
    const auto a = random_values(static_cast<std::size_t>(m * k), 1);
    const auto b = random_values(static_cast<std::size_t>(k * n), 2);
    for (const Transpose transpose_a : {Transpose::no, Transpose::yes}) {
      for (const Transpose transpose_b : {Transpose::no, Transpose::yes}) {
        std::vector<float> expected(static_cast<std::size_t>(m * n));
        host_.gemm(transpose_a, transpose_b, m, n, k, a.data(), b.data(), expected.data());
        Floats c(*device_, expected.size());
        device_->gemm(transpose_a, transpose_b, m, n, k, there(a).data(), there(b).data(), c.data());
        const auto result = here(c);
        for (std::size_t i = 0; i < result.size(); ++i) {
          // TF32 would be off by 0.01.
          ASSERT_NEAR(result[i], expected[i], 2e-6 * std::sqrt(k) * 8) << m << "x" << n << "x" << k;
        }
      }
    }
  }
}

TEST_F(DeviceOperations, LossesAndTheirGradients) {
  constexpr std::size_t kClasses = 10;
  auto logits = random_values(65 * kClasses, 3);
  std::vector<std::uint8_t> labels;
  for (std::size_t row = 0; row < 65; ++row) labels.push_back(static_cast<std::uint8_t>(row * 7 % kClasses));
  // More rows than before, and fewer.
  for (const std::size_t rows : {5U, 65U, 12U, 0U}) {
    std::vector<float> expected(logits.begin(),
                                logits.begin() + static_cast<std::ptrdiff_t>(rows * kClasses));
    Floats gradients = there(expected);
    const auto some = std::span(labels).first(rows);
    const double loss = host_.softmax_cross_entropy(expected, kClasses, some, 0.5F);
    EXPECT_NEAR(device_->softmax_cross_entropy(gradients.span(), kClasses, some, 0.5F), loss,
                kSameBits ? 0 : 1e-5 * loss);
    const auto result = here(gradients);
    for (std::size_t i = 0; i < result.size(); ++i) EXPECT_NEAR(result[i], expected[i], 1e-6);
  }
}

TEST_F(DeviceOperations, AllOthersGiveTheHostsBits) {
  constexpr std::size_t kRows = 33;
  constexpr std::size_t kColumns = 300;
  const auto values = random_values(kRows * kColumns, 4);
  const auto others = random_values(kRows * kColumns, 5);
  const auto row = random_values(kColumns, 6);
  const auto expect = [&](const char* what, const auto& work) {
    auto expected = values;
    auto second = others;
    auto third = row;
    Floats first_there = there(values);
    Floats second_there = there(others);
    Floats third_there = there(row);
    work(host_, std::span(expected), std::span(second), std::span(third));
    work(*device_, first_there.span(), second_there.span(), third_there.span());
    EXPECT_EQ(here(first_there), expected) << what;
    EXPECT_EQ(here(second_there), second) << what;
    EXPECT_EQ(here(third_there), third) << what;
  };
  using Span = std::span<float>;
  expect("bias", [](Compute& c, Span a, Span, Span r) { c.add_bias(a.data(), r.data(), kRows, kColumns); });
  expect("rectify", [](Compute& c, Span a, Span, Span r) {
    c.add_bias_and_rectify(a.data(), r.data(), kRows, kColumns);
  });
  expect("sum", [](Compute& c, Span a, Span, Span r) { c.sum_rows(a.data(), r.data(), kRows, kColumns); });
  expect("mask", [](Compute& c, Span a, Span b, Span) { c.mask_rectified(a.data(), b.data(), a.size()); });
  expect("sgd", [](Compute& c, Span a, Span b, Span) {
    const auto velocity = b.first(a.size() / 2);
    EXPECT_TRUE(c.sgd_step(a.first(a.size() / 2), a.last(a.size() / 2), velocity, {0.1F, 0.9F, 0.01F}));
  });
  expect("subtract", [](Compute& c, Span a, Span b, Span) { c.subtract(a, b, b); });
  expect("momentum", [](Compute& c, Span a, Span b, Span) {
    const std::size_t half = a.size() / 2;
    c.block_momentum_step(a.first(half), a.last(half), b.first(half), b.last(half), 0.5F);
  });
}

TEST_F(DeviceOperations, NoticeWhatIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : {0U, 17U, 999U}) {
      std::vector<float> values(1000, std::numeric_limits<float>::max());
      EXPECT_TRUE(device_->is_finite(there(values).span()));
      values[place] = bad;
      EXPECT_FALSE(device_->is_finite(there(values).span()));
      Floats weights(*device_, 1000);
      Floats velocity(*device_, 1000);
      EXPECT_FALSE(device_->sgd_step(weights.span(), there(values).span(), velocity.span(), {}));
    }
  }
}

}  // namespace
}  // namespace gradwire::trainer
