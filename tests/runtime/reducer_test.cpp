#include "gradwire/reducer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "local_world.hpp"

namespace gradwire {
namespace {

/// Three tensors with gradients that depend on rank, step and index.
class Gradients {
 public:
  explicit Gradients(int rank) : rank_(rank), weights_(40'000), bias_(50), head_(3000) {}

  std::vector<NamedTensor> tensors() {
    return {{"head", std::span(head_)}, {"bias", std::span(bias_)}, {"weights", std::span(weights_)}};
  }
  void fill(unsigned step) {
    std::mt19937 random(static_cast<unsigned>(rank_) * 1000 + step);
    std::normal_distribution<float> normal(0.3F, 1.0F);
    for (auto* values : {&weights_, &bias_, &head_}) {
      for (float& value : *values) value = normal(random);
    }
  }
  std::vector<float>& weights() { return weights_; }
  std::vector<float>& bias() { return bias_; }

 private:
  int rank_;
  std::vector<float> weights_;
  std::vector<float> bias_;
  std::vector<float> head_;
};

double mean_of(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

TEST(Reducer, AveragesWhateverTheBucketsAndTheOrderOfReady) {
  for (const std::size_t bucket_bytes : {std::size_t{1}, std::size_t{20'000}, std::size_t{1} << 25U}) {
    for (const bool overlap : {false, true}) {
      expect_ranks(3, [&](Communicator& communicator) {
        Gradients gradients(communicator.rank());
        Reducer reducer(communicator, gradients.tensors(),
                        {.bucket_bytes = bucket_bytes, .overlap = overlap});
        for (unsigned step = 0; step < 3; ++step) {
          gradients.fill(step);
          // Each rank in another order.
          for (int i = 0; i < 3; ++i) reducer.ready((i + communicator.rank()) % 3);
          reducer.wait();
          double expected = 0;
          for (int rank = 0; rank < 3; ++rank) {
            Gradients other(rank);
            other.fill(step);
            expected += mean_of(other.weights()) / 3;
          }
          EXPECT_NEAR(mean_of(gradients.weights()), expected, 1e-6);
        }
        EXPECT_EQ(reducer.step(), 3U);
      });
    }
  }
}

TEST(Reducer, SendsSmallTensorsRaw) {
  expect_ranks(2, [](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    gradients.fill(1);
    const float mine = gradients.bias()[7];
    reducer.wait();
    Gradients other(1 - communicator.rank());
    other.fill(1);
    EXPECT_FLOAT_EQ(gradients.bias()[7], (mine + other.bias()[7]) / 2);
    EXPECT_TRUE(reducer.residual("bias").empty());
    EXPECT_EQ(reducer.residual("weights").size(), 40'000U);
    const auto metrics = reducer.metrics();
    EXPECT_GT(metrics.wire_bytes.at("none"), 0U);
    // 1.125 bits an element of 43,000, two-shot among two ranks: each sends half in and half out.
    EXPECT_NEAR(static_cast<double>(metrics.wire_bytes.at("onebit")), 43'000 * 1.125 / 8, 1500);
  });
}

/// The sum over steps of what came out tracks the sum of what went in; without feedback it drifts away.
TEST(Reducer, FeedbackConservesOverManySteps) {
  const auto drift = [](bool feedback) {
    double worst = 0;
    expect_ranks(4, [&](Communicator& communicator) {
      std::vector<float> gradient(4096);
      std::vector<NamedTensor> tensors{{"g", std::span(gradient)}};
      Reducer reducer(communicator, tensors, {.codec = "onebit", .error_feedback = feedback});
      std::vector<double> in(4096);
      std::vector<double> out(4096);
      constexpr int kSteps = 200;
      for (int step = 0; step < kSteps; ++step) {
        for (int rank = 0; rank < 4; ++rank) {
          std::mt19937 random(static_cast<unsigned>(rank * 10'000 + step));
          std::normal_distribution<float> normal;
          for (std::size_t i = 0; i < gradient.size(); ++i) {
            const float value = normal(random) + 0.03F * static_cast<float>(i % 64);
            in[i] += value / 4.0;
            if (rank == communicator.rank()) gradient[i] = value;
          }
        }
        reducer.wait();
        for (std::size_t i = 0; i < gradient.size(); ++i) out[i] += gradient[i];
      }
      if (communicator.rank() != 0) return;
      for (std::size_t i = 0; i < in.size(); ++i) worst = std::max(worst, std::abs(in[i] - out[i]) / kSteps);
    });
    return worst;
  };
  const double with = drift(true);
  const double without = drift(false);
  EXPECT_LT(with, 0.1);
  EXPECT_GT(without, 5 * with);
}

TEST(Reducer, ResumesBitForBit) {
  expect_ranks(3, [](Communicator& communicator) {
    const auto run = [&](Gradients& gradients, Reducer& reducer, unsigned from, unsigned to) {
      for (unsigned step = from; step < to; ++step) {
        gradients.fill(step);
        reducer.wait();
      }
    };
    const ReducerOptions options{.codec = "onebit"};
    Gradients whole(communicator.rank());
    Reducer uninterrupted(communicator, whole.tensors(), options);
    run(whole, uninterrupted, 0, 8);

    std::string state;
    {
      Gradients first(communicator.rank());
      Reducer reducer(communicator, first.tensors(), options);
      run(first, reducer, 0, 5);
      state = reducer.save_state();
    }
    Gradients second(communicator.rank());
    Reducer resumed(communicator, second.tensors(), options);
    resumed.load_state(state);
    EXPECT_EQ(resumed.step(), 5U);
    run(second, resumed, 5, 8);
    EXPECT_EQ(second.weights(), whole.weights());
    EXPECT_EQ(0, std::memcmp(resumed.residual("weights").data(), uninterrupted.residual("weights").data(),
                             whole.weights().size() * sizeof(float)));
  });
}

/// Four ranks' residuals, collapsed, load into a world of two: their sum over ranks is unchanged.
TEST(Reducer, CollapsedStateFitsAnyWorldSize) {
  std::string state;
  std::vector<double> sum(40'000);
  std::mutex mutex;
  expect_ranks(4, [&](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    gradients.fill(0);
    reducer.wait();
    std::string mine = reducer.save_collapsed_state();
    const std::lock_guard lock(mutex);
    const auto residual = reducer.residual("weights");
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += residual[i];
    state = std::move(mine);
  });
  std::vector<double> loaded(40'000);
  expect_ranks(2, [&](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    reducer.load_state(state);
    reducer.rescale_residuals(2.0F);
    const std::lock_guard lock(mutex);
    const auto residual = reducer.residual("weights");
    for (std::size_t i = 0; i < loaded.size(); ++i) loaded[i] += residual[i] / 2.0;
  });
  for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_NEAR(loaded[i], sum[i], 1e-5) << i;
}

TEST(Reducer, RefusesStatesThatDoNotFit) {
  Communicator alone;
  std::vector<float> values(2000);
  const std::vector<NamedTensor> tensors{{"w", std::span(values)}};
  Reducer reducer(alone, tensors, {.codec = "onebit"});
  const std::string good = reducer.save_state();
  reducer.load_state(good);
  const auto refused = [&](const std::string& state) {
    try {
      reducer.load_state(state);
    } catch (const Error& error) {
      return error.code() == ErrorCode::invalid_argument;
    }
    return false;
  };
  EXPECT_TRUE(refused(""));
  for (std::size_t length = 0; length < good.size(); length += 97)
    EXPECT_TRUE(refused(good.substr(0, length)));
  for (std::size_t at = 0; at < good.size(); at += 31) {
    std::string flipped = good;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    EXPECT_TRUE(refused(flipped)) << at;
  }
  std::vector<float> other(1999);
  Reducer smaller(alone, {{"w", std::span(other)}}, {.codec = "onebit"});
  EXPECT_TRUE(refused(smaller.save_state()));
  Reducer renamed(alone, {{"v", std::span(values)}}, {.codec = "onebit"});
  EXPECT_TRUE(refused(renamed.save_state()));
}

TEST(Reducer, ANonFiniteStepLeavesResidualsAndTheNextStepWorks) {
  expect_ranks(3, [](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit", .bucket_bytes = 4096});
    gradients.fill(0);
    reducer.wait();
    const std::vector<float> before(reducer.residual("weights").begin(), reducer.residual("weights").end());
    gradients.fill(1);
    if (communicator.rank() == 1) gradients.weights()[5] = std::numeric_limits<float>::quiet_NaN();
    try {
      reducer.wait();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::non_finite);
    }
    EXPECT_EQ(reducer.step(), 1U);
    EXPECT_TRUE(std::equal(before.begin(), before.end(), reducer.residual("weights").begin()));
    gradients.fill(1);
    reducer.wait();
    EXPECT_EQ(reducer.step(), 2U);
    EXPECT_TRUE(std::isfinite(gradients.weights()[5]));
  });
}

TEST(Reducer, ChangesItsCodecBetweenSteps) {
  expect_ranks(2, [](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "none"});
    gradients.fill(0);
    reducer.wait();
    EXPECT_TRUE(reducer.residual("weights").empty());
    reducer.set_codec("onebit");
    gradients.fill(1);
    reducer.wait();
    EXPECT_EQ(reducer.residual("weights").size(), 40'000U);
    EXPECT_EQ(reducer.metrics().wire_bytes.size(), 2U);
  });
}

TEST(Reducer, MeasuresNormsOnDemand) {
  expect_ranks(2, [](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    for (unsigned step = 0; step < 5; ++step) {
      gradients.fill(step);
      if (step == 4) reducer.measure_next_step();
      reducer.wait();
    }
    const auto metrics = reducer.metrics();
    EXPECT_EQ(metrics.steps, 5U);
    EXPECT_GT(metrics.residual_over_gradient, 0.1);
    EXPECT_LT(metrics.residual_over_gradient, 10);
    EXPECT_GT(metrics.result_over_mean, 0.5);
    EXPECT_LT(metrics.result_over_mean, 5);
  });
}

TEST(Reducer, RefusesMisuse) {
  Communicator alone;
  std::vector<float> values(10);
  const auto code_of = [](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::system;
  };
  EXPECT_EQ(code_of([&] {
              Reducer(alone, {{"a", std::span(values)}, {"a", std::span(values)}});
            }),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] {
              Reducer(alone, {{"a", std::span(values)}}, {.codec = "0bit"});
            }),
            ErrorCode::invalid_argument);
  Reducer reducer(alone, {{"a", std::span(values)}, {"b", std::span(values)}});
  EXPECT_EQ(code_of([&] { reducer.ready(2); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { reducer.ready(-1); }), ErrorCode::invalid_argument);
  reducer.ready(0);
  EXPECT_EQ(code_of([&] { reducer.ready(0); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { reducer.set_codec("none"); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { (void)reducer.residual("c"); }), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace gradwire
