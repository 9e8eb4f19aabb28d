#include "gradwire/reducer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gradients.hpp"
#include "local_world.hpp"
#include "tests/support/every_algorithm.hpp"
#include "tests/support/normal_floats.hpp"
#include "tests/support/quick.hpp"

namespace gradwire {
namespace {

double norm_of(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * value;
  return std::sqrt(sum);
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
          const Expected expected(3, step);
          const auto values = gradients.all();
          // Two additions and a division, each rounded once.
          const double epsilon = 0x1p-23;
          for (std::size_t i = 0; i < values.size(); ++i) {
            ASSERT_NEAR(values[i], expected.mean[i], 3 * epsilon * expected.magnitude[i]) << i;
          }
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
    // Few bytes for two ranks take one-shot: all of it in one frame. 256 elements take 36 bytes, 3000 take
    // 11 such blocks and 4 + 8 * 3 for the last 184; so do 40,000, with a last block of 64.
    EXPECT_EQ(metrics.wire_bytes.at("onebit"), 64U + (11 * 36 + 27) + (156 * 36 + 12));
  });
}

/// What went in is what came out plus what is kept: exactly, but for float32's rounding. Without feedback it
/// is lost.
TEST(Reducer, FeedbackConservesOverManySteps) {
  const auto lost = [](const std::string& algorithm, bool feedback) {
    double worst = 0;
    expect_ranks(4, [&](Communicator& communicator) {
      std::vector<float> gradient(4096);
      std::vector<NamedTensor> tensors{{"g", std::span(gradient)}};
      Reducer reducer(communicator, tensors,
                      {.codec = "onebit", .algorithm = algorithm, .error_feedback = feedback});
      std::vector<double> in(4096);
      std::vector<double> out(4096);
      const int steps = quick() ? 50 : 200;
      for (int step = 0; step < steps; ++step) {
        for (int rank = 0; rank < 4; ++rank) {
          NormalFloats normal(static_cast<unsigned>(rank * 10'000 + step));
          for (std::size_t i = 0; i < gradient.size(); ++i) {
            const float value = normal() + 0.03F * static_cast<float>(i % 64);
            in[i] += value / 4.0;
            if (rank == communicator.rank()) gradient[i] = value;
          }
        }
        reducer.wait();
        for (std::size_t i = 0; i < gradient.size(); ++i) out[i] += gradient[i];
      }
      // Residuals are in units of the sum over ranks.
      std::vector<float> kept(4096);
      const auto residual = reducer.residual("g");
      std::copy(residual.begin(), residual.end(), kept.begin());
      communicator.allreduce(std::span(kept), {.average = true});
      if (communicator.rank() != 0) return;
      for (std::size_t i = 0; i < in.size(); ++i) {
        worst = std::max(worst, std::abs(in[i] - out[i] - kept[i]) / steps);
      }
    });
    return worst;
  };
  // A step rounds at most once for each rank and once for the owner, values of at most 8 times what goes in.
  constexpr double kBound = 5 * 0x1p-24 * 8 * 6;
  for (const std::string& algorithm : algorithm_names()) {
    EXPECT_LT(lost(algorithm, true), kBound) << algorithm;
    EXPECT_GT(lost(algorithm, false), 0.1) << algorithm;
  }
}

TEST(Reducer, SumsWhenAskedTo) {
  expect_ranks(3, [](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.average = false});
    gradients.fill(0);
    reducer.wait();
    const Expected expected(3, 0);
    const auto values = gradients.all();
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(values[i], 3 * expected.mean[i], 3 * 0x1p-23 * 3 * expected.magnitude[i]) << i;
    }
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
    Gradients again(communicator.rank());
    again.fill(4);
    const double residual =
        std::hypot(norm_of(reducer.residual("head")), norm_of(reducer.residual("weights")));
    EXPECT_NEAR(metrics.residual_over_gradient, residual / norm_of(again.all()), 1e-5);
    double mean = 0;
    for (const double value : Expected(2, 4).mean) mean += value * value;
    EXPECT_NEAR(metrics.result_over_mean, norm_of(gradients.all()) / std::sqrt(mean), 1e-5);
    EXPECT_GT(metrics.residual_over_gradient, 0.1);
  });
}

/// Gradients of equal sizes listed in another order would be added crosswise.
TEST(Reducer, NamesInAnotherOrderAreAnOrderMismatch) {
  const auto errors = run_ranks(3, [](Communicator& communicator) {
    std::vector<float> query(2000);
    std::vector<float> key(2000);
    std::vector<NamedTensor> tensors{{"query", std::span(query)}, {"key", std::span(key)}};
    if (communicator.rank() == 1) std::swap(tensors[0], tensors[1]);
    Reducer reducer(communicator, tensors, {.codec = "onebit"});
    reducer.wait();
  });
  for (const auto& error : errors) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), ErrorCode::order_mismatch) << error->what();
  }
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
