#include "trainer/device/model_kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "trainer/host_compute.hpp"
#include "trainer/random.hpp"

// The kernels as C++, with the CUDA of tests/compress/cuda_on_host, against the host's Compute.

namespace gradwire::trainer {
namespace {

using Values = std::vector<float>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Shape {
  std::size_t rows;
  std::size_t columns;
};

/// One row, one column, neither a multiple of a warp or a block, more than a block.
constexpr Shape kShapes[] = {{1, 1},  {1, 10},  {7, 10},   {64, 10}, {33, 31},
                             {5, 32}, {9, 257}, {65, 300}, {0, 8}};

Values random_values(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  Values values(count);
  for (float& value : values) value = static_cast<float>(random.normal());
  // Signed zeros have bits of their own.
  if (count > 3) values[3] = -0.0F;
  return values;
}

bool same_bits(const Values& one, const Values& other) {
  return one.size() == other.size() &&
         (one.empty() || std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0);
}

class ModelKernels : public testing::TestWithParam<Shape> {
 protected:
  ModelKernels() { kernels::load(); }

  const std::size_t rows_ = GetParam().rows;
  const std::size_t columns_ = GetParam().columns;
  const std::size_t count_ = rows_ * columns_;
  HostCompute host_;
};
INSTANTIATE_TEST_SUITE_P(Shapes, ModelKernels, testing::ValuesIn(kShapes), [](const auto& test) {
  return std::to_string(test.param.rows) + "x" + std::to_string(test.param.columns);
});

TEST_P(ModelKernels, AddBiases) {
  for (const bool rectify : {false, true}) {
    Values values = random_values(count_, 1);
    if (count_ > 5) values[5] = kNan;
    Values expected = values;
    const Values bias = random_values(columns_, 2);
    kernels::add_bias(values.data(), bias.data(), rows_, columns_, rectify, nullptr);
    if (rectify) {
      host_.add_bias_and_rectify(expected.data(), bias.data(), rows_, columns_);
    } else {
      host_.add_bias(expected.data(), bias.data(), rows_, columns_);
    }
    EXPECT_TRUE(same_bits(values, expected)) << rectify;
  }
}

TEST_P(ModelKernels, SumRows) {
  const Values values = random_values(count_, 3);
  Values sums(columns_, kNan);
  Values expected(columns_);
  kernels::sum_rows(values.data(), sums.data(), rows_, columns_, nullptr);
  host_.sum_rows(values.data(), expected.data(), rows_, columns_);
  EXPECT_TRUE(same_bits(sums, expected));
}

TEST_P(ModelKernels, MaskWhatWasRectified) {
  Values delta = random_values(count_, 4);
  Values activation = random_values(count_, 5);
  if (count_ > 5) activation[5] = kNan;
  Values expected = delta;
  kernels::mask_rectified(delta.data(), activation.data(), count_, nullptr);
  host_.mask_rectified(expected.data(), activation.data(), count_);
  EXPECT_TRUE(same_bits(delta, expected));
}

TEST_P(ModelKernels, StepDownTheGradient) {
  const SgdOptions options{.learning_rate = 0.05F, .momentum = 0.9F, .weight_decay = 1e-4F};
  Values weights = random_values(count_, 6);
  Values velocity = random_values(count_, 7);
  Values gradients = random_values(count_, 8);
  Values expected = weights;
  Values expected_velocity = velocity;
  std::uint32_t not_finite = 0;
  kernels::sgd_step(weights, gradients, velocity, options, &not_finite, nullptr);
  EXPECT_TRUE(host_.sgd_step(expected, gradients, expected_velocity, options));
  EXPECT_TRUE(same_bits(weights, expected));
  EXPECT_TRUE(same_bits(velocity, expected_velocity));
  EXPECT_EQ(not_finite, 0U);
  for (std::size_t place = 0; place < count_; place += 1 + count_ / 3) {
    for (const float bad : {kNan, kInfinity, -kInfinity}) {
      Values broken = gradients;
      broken[place] = bad;
      not_finite = 0;
      kernels::sgd_step(weights, broken, velocity, options, &not_finite, nullptr);
      EXPECT_EQ(not_finite, 1U) << place;
      not_finite = 0;
      kernels::look(broken, &not_finite, nullptr);
      EXPECT_EQ(not_finite, 1U) << place;
    }
  }
  not_finite = 0;
  kernels::look(gradients, &not_finite, nullptr);
  EXPECT_EQ(not_finite, 0U);
}

TEST_P(ModelKernels, AverageModels) {
  const Values a = random_values(count_, 9);
  const Values b = random_values(count_, 10);
  Values difference(count_, kNan);
  Values expected(count_);
  kernels::subtract(a, b, difference, nullptr);
  host_.subtract(a, b, expected);
  EXPECT_TRUE(same_bits(difference, expected));

  Values momentum = random_values(count_, 11);
  Values model = random_values(count_, 12);
  Values base(count_, kNan);
  Values expected_momentum = momentum;
  Values expected_model = model;
  Values expected_base(count_);
  kernels::block_momentum_step(a, momentum, model, base, 0.75F, nullptr);
  host_.block_momentum_step(a, expected_momentum, expected_model, expected_base, 0.75F);
  EXPECT_TRUE(same_bits(momentum, expected_momentum));
  EXPECT_TRUE(same_bits(model, expected_model));
  EXPECT_TRUE(same_bits(base, expected_base));
}

TEST_P(ModelKernels, SoftmaxGivesLossesAndTheirGradients) {
  Values logits = random_values(count_, 13);
  for (float& logit : logits) logit *= 20;
  std::vector<std::uint8_t> labels;
  for (std::size_t row = 0; row < rows_; ++row) {
    labels.push_back(static_cast<std::uint8_t>(row * 7 % std::min<std::size_t>(columns_, 256)));
  }
  Values gradients = logits;
  std::vector<double> losses(rows_, -1);
  kernels::softmax(gradients.data(), columns_, labels.data(), rows_, 0.25F, losses.data(), nullptr);
  for (std::size_t row = 0; row < rows_; ++row) {
    const std::span<float> expected = std::span(logits).subspan(row * columns_, columns_);
    const double loss =
        host_.softmax_cross_entropy(expected, columns_, std::span(labels).subspan(row, 1), 0.25F);
    EXPECT_NEAR(losses[row], loss, 1e-5 * (1 + loss)) << row;
    for (std::size_t i = 0; i < columns_; ++i) {
      EXPECT_NEAR(gradients[row * columns_ + i], expected[i], 1e-6) << row << ", " << i;
    }
  }
}

TEST_P(ModelKernels, SoftmaxShowsWhatIsNotFinite) {
  const std::vector<std::uint8_t> labels(rows_, 0);
  for (const float bad : {kNan, kInfinity}) {
    for (std::size_t place = 0; place < columns_ && rows_ > 0; place += 1 + columns_ / 3) {
      Values logits = random_values(count_, 14);
      logits[count_ - columns_ + place] = bad;
      std::vector<double> losses(rows_);
      kernels::softmax(logits.data(), columns_, labels.data(), rows_, 1, losses.data(), nullptr);
      EXPECT_FALSE(std::isfinite(losses.back())) << place;
      EXPECT_EQ(std::isfinite(losses.front()), rows_ > 1) << place;
    }
  }
}

TEST_P(ModelKernels, TouchNothingBeyondTheirEnds) {
  constexpr std::size_t kBeyond = 300;
  const Values beyond(kBeyond, 7.0F);
  const auto padded = [&](std::size_t count, std::uint64_t seed) {
    Values values = random_values(count, seed);
    values.insert(values.end(), beyond.begin(), beyond.end());
    return values;
  };
  const auto is_whole = [&](const Values& values) {
    return std::equal(beyond.begin(), beyond.end(), values.end() - kBeyond);
  };
  Values values = padded(count_, 15);
  const Values bias = padded(columns_, 16);
  kernels::add_bias(values.data(), bias.data(), rows_, columns_, true, nullptr);
  EXPECT_TRUE(is_whole(values));
  Values sums = padded(columns_, 17);
  kernels::sum_rows(values.data(), sums.data(), rows_, columns_, nullptr);
  EXPECT_TRUE(is_whole(sums));
  const std::vector<std::uint8_t> labels(rows_ + kBeyond, 0);
  std::vector<double> losses(rows_ + kBeyond, 7.0);
  kernels::softmax(values.data(), columns_, labels.data(), rows_, 1, losses.data(), nullptr);
  EXPECT_TRUE(is_whole(values));
  EXPECT_EQ(std::count(losses.begin() + static_cast<std::ptrdiff_t>(rows_), losses.end(), 7.0), kBeyond);
}

}  // namespace
}  // namespace gradwire::trainer
