#include "trainer/mlp.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gradwire/error.hpp"
#include "trainer/gemm.hpp"
#include "trainer/host_compute.hpp"
#include "trainer/random.hpp"
#include "trainer/sgd.hpp"
#include "trainer/softmax_loss.hpp"

namespace gradwire::trainer {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// The mean loss by the definition, in double, from the weights as the arena has them.
double reference_loss(Mlp& model, const std::vector<double>& weights, std::size_t rows,
                      const std::vector<std::uint8_t>& labels) {
  const auto& widths = model.widths();
  const std::size_t layers = widths.size() - 1;
  double loss = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    std::vector<double> x(static_cast<std::size_t>(widths[0]));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = model.inputs()[row * x.size() + i];
    for (std::size_t l = 0; l < layers; ++l) {
      const auto& weight = model.parameters()[2 * (layers - 1 - l)];
      const auto& bias = model.parameters()[2 * (layers - 1 - l) + 1];
      std::vector<double> y(static_cast<std::size_t>(widths[l + 1]));
      for (std::size_t o = 0; o < y.size(); ++o) {
        y[o] = weights[bias.offset + o];
        for (std::size_t i = 0; i < x.size(); ++i) y[o] += x[i] * weights[weight.offset + i * y.size() + o];
        if (l + 1 < layers) y[o] = std::max(y[o], 0.0);
      }
      x = y;
    }
    double sum = 0;
    for (const double logit : x) sum += std::exp(logit);
    loss += std::log(sum) - x[labels[row]];
  }
  return loss / static_cast<double>(rows);
}

struct Example {
  HostCompute compute;
  Mlp model{compute, {6, 5, 4, 3}, 8};
  std::vector<std::uint8_t> labels{0, 1, 2, 2, 1, 0, 1};
  std::size_t rows = labels.size();

  Example() {
    set_gemm_threads(1);
    model.initialize(3);
    Random random(5);
    for (auto& x : model.inputs()) x = static_cast<float>(random.normal());
    for (const auto& parameter : model.parameters()) {
      if (!parameter.name.ends_with("bias")) continue;
      for (auto& b : model.weights().subspan(parameter.offset, parameter.count)) {
        b = static_cast<float>(0.1 * random.normal());
      }
    }
  }

  double loss(const Mlp::Ready& ready = [](int) {}) {
    const auto logits = model.forward(rows);
    const auto scale = 1.0F / static_cast<float>(rows);
    const double mean = softmax_cross_entropy(logits, 3, labels, scale) / static_cast<double>(rows);
    model.backward(rows, ready);
    return mean;
  }
};

TEST(Mlp, loss_matches_the_definition) {
  Example example;
  const std::vector<double> weights(example.model.weights().begin(), example.model.weights().end());
  EXPECT_NEAR(example.loss(), reference_loss(example.model, weights, example.rows, example.labels), 1e-6);
}

TEST(Mlp, gradients_match_finite_differences) {
  Example example;
  example.loss();
  std::vector<double> weights(example.model.weights().begin(), example.model.weights().end());
  constexpr double kStep = 1e-6;
  for (const auto& parameter : example.model.parameters()) {
    for (std::size_t i = parameter.offset; i < parameter.offset + parameter.count; ++i) {
      const double saved = weights[i];
      weights[i] = saved + kStep;
      const double above = reference_loss(example.model, weights, example.rows, example.labels);
      weights[i] = saved - kStep;
      const double below = reference_loss(example.model, weights, example.rows, example.labels);
      weights[i] = saved;
      EXPECT_NEAR(static_cast<double>(example.model.gradients()[i]), (above - below) / (2 * kStep), 2e-6)
          << parameter.name << " element " << i - parameter.offset;
    }
  }
}

TEST(Mlp, announces_each_gradient_once_it_is_complete_and_in_order) {
  Example example;
  example.loss();
  const std::vector<float> complete(example.model.gradients().begin(), example.model.gradients().end());
  std::ranges::fill(example.model.gradients(), kNan);
  std::vector<int> order;
  example.loss([&](int parameter) {
    order.push_back(parameter);
    const auto& p = example.model.parameters()[static_cast<std::size_t>(parameter)];
    const auto gradient = example.model.gradient(parameter);
    EXPECT_TRUE(std::ranges::equal(gradient, std::span(complete).subspan(p.offset, p.count))) << p.name;
  });
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5}));
}

TEST(Mlp, no_rows_give_zero_gradients) {
  Example example;
  std::ranges::fill(example.model.gradients(), 1.0F);
  example.model.forward(0);
  example.model.backward(0, [](int) {});
  for (int i = 0; i < 6; ++i)
    EXPECT_EQ(std::ranges::count(example.model.gradient(i), 0.0F), std::ssize(example.model.gradient(i)));
}

TEST(Mlp, initial_weights_follow_the_seed_and_he) {
  HostCompute compute;
  Mlp a(compute, {784, 512, 10}, 1);
  Mlp b(compute, {784, 512, 10}, 1);
  a.initialize(1);
  b.initialize(1);
  EXPECT_TRUE(std::ranges::equal(a.weights(), b.weights()));
  b.initialize(2);
  EXPECT_FALSE(std::ranges::equal(a.weights(), b.weights()));
  double squares = 0;
  const auto& weight = a.parameters()[2];
  ASSERT_EQ(weight.name, "fc1.weight");
  for (const float w : a.weights().subspan(weight.offset, weight.count))
    squares += static_cast<double>(w) * static_cast<double>(w);
  EXPECT_NEAR(squares / static_cast<double>(weight.count), 2.0 / 784, 2e-5);
}

TEST(Mlp, refuses_empty_layers) {
  HostCompute compute;
  EXPECT_THROW(Mlp(compute, {784, 0, 10}, 1), Error);
  EXPECT_THROW(Mlp(compute, {784}, 1), Error);
}

TEST(Mlp, a_nan_anywhere_reaches_the_loss) {
  for (const std::size_t parameter : {0U, 2U, 4U, 1U, 3U, 5U}) {
    Example example;
    example.model.weights()[example.model.parameters()[parameter].offset] = kNan;
    EXPECT_TRUE(std::isnan(example.loss())) << parameter;
  }
  Example example;
  example.model.inputs()[0] = kNan;
  EXPECT_TRUE(std::isnan(example.loss()));
}

TEST(SoftmaxLoss, stays_finite_for_large_logits_and_shows_infinite_ones) {
  std::vector<float> large{1000, -1000, 0};
  const std::vector<std::uint8_t> second{1};
  EXPECT_NEAR(softmax_cross_entropy(large, 3, second, 1), 2000, 1e-3);
  EXPECT_EQ(large, (std::vector<float>{1, -1, 0}));
  std::vector<float> infinite{std::numeric_limits<float>::infinity(), 0, 0};
  EXPECT_FALSE(std::isfinite(softmax_cross_entropy(infinite, 3, second, 1)));
}

TEST(SoftmaxLoss, scores) {
  const std::vector<float> logits{0, 2, 1, 5, 4, 3};
  const std::vector<std::uint8_t> labels{1, 1};
  const Score result = score(logits, 3, labels);
  EXPECT_EQ(result.correct, 1U);
  EXPECT_NEAR(result.loss,
              std::log(1 + std::exp(-2.0) + std::exp(-1.0)) + std::log(1 + std::exp(1.0) + std::exp(-1.0)),
              1e-6);
}

TEST(Sgd, follows_its_formula) {
  HostCompute compute;
  Sgd sgd(compute, 2, {.learning_rate = 0.5F, .momentum = 0.5F, .weight_decay = 0.25F});
  std::vector<float> weights{4, -8};
  const std::vector<float> gradients{1, 0};
  EXPECT_TRUE(sgd.step(weights, gradients));
  EXPECT_EQ(weights, (std::vector<float>{3, -7}));  // v = {2, -2}
  EXPECT_TRUE(sgd.step(weights, gradients));
  EXPECT_EQ(weights, (std::vector<float>{1.625F, -5.625F}));  // v = {1 + 1 + .75, -1 - 1.75}
}

TEST(Sgd, notices_gradients_that_are_not_finite) {
  for (const float bad :
       {kNan, -kNan, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : {0U, 17U, 99U}) {
      HostCompute compute;
      Sgd sgd(compute, 100, {});
      std::vector<float> weights(100);
      std::vector<float> gradients(100, std::numeric_limits<float>::max());
      EXPECT_TRUE(sgd.step(weights, gradients));
      gradients[place] = bad;
      EXPECT_FALSE(sgd.step(weights, gradients));
    }
  }
}

}  // namespace
}  // namespace gradwire::trainer
