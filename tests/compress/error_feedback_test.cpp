// Error feedback over many steps: nothing is lost, only late. Each property is shown to fail for a residual
// formula that looks almost right.

#include <gtest/gtest.h>

#include <functional>

#include "codec_test_data.hpp"

namespace gradwire::compress {
namespace {

/// One step of a sender: sends something for the gradient, and keeps a residual.
using Step = std::function<Floats(const Floats& gradient, Floats& residual)>;

Step with_feedback(const std::string& spec) {
  return [codec = make_codec(spec)](const Floats& gradient, Floats& residual) {
    const Encode in{gradient.data(), residual.data(), residual.data(), gradient.size(), 1.0F};
    return decode(*codec, encode(*codec, in), gradient.size());
  };
}

Step without_feedback(const std::string& spec) {
  return [codec = make_codec(spec)](const Floats& gradient, Floats& /*residual*/) {
    return decode(*codec, encode(*codec, {gradient.data(), nullptr, nullptr, gradient.size(), 1.0F}),
                  gradient.size());
  };
}

/// The planted fault: the formula as the 1-bit SGD paper prints it, which forgets the error carried over.
Step forgetful(const std::string& spec) {
  return [codec = make_codec(spec)](const Floats& gradient, Floats& residual) {
    const std::size_t count = gradient.size();
    Floats sent =
        decode(*codec, encode(*codec, {gradient.data(), residual.data(), nullptr, count, 1.0F}), count);
    for (std::size_t i = 0; i < count; ++i) residual[i] = gradient[i] - sent[i];
    return sent;
  };
}

/// |sum of inputs - sum of what was sent - residual| over the sum of magnitudes, in double.
double conservation_error(const Step& step, std::size_t count, int steps) {
  Floats residual(count, 0.0F);
  std::vector<double> balance(count, 0.0);
  double magnitude = 0;
  for (int t = 0; t < steps; ++t) {
    const Floats gradient = normal_floats(count, static_cast<unsigned>(t));
    const Floats sent = step(gradient, residual);
    for (std::size_t i = 0; i < count; ++i) {
      balance[i] += static_cast<double>(gradient[i]) - sent[i];
      magnitude += std::fabs(gradient[i]);
    }
  }
  double error = 0;
  for (std::size_t i = 0; i < count; ++i) error += std::fabs(balance[i] - residual[i]);
  return error / magnitude;
}

TEST(ErrorFeedback, Conserves) {
  for (const std::string& spec : all_specs()) {
    EXPECT_LT(conservation_error(with_feedback(spec), 1000, 100), 1e-6) << spec;
  }
}

TEST(ErrorFeedback, ConservationCatchesAWrongResidual) {
  EXPECT_GT(conservation_error(forgetful("onebit"), 1000, 100), 0.01);
}

/// Relative distance between a constant gradient and the average of what was sent for it.
double average_error(const Step& step, int steps) {
  const Floats gradient = normal_floats(256, 7);
  Floats residual(gradient.size(), 0.0F);
  std::vector<double> sum(gradient.size(), 0.0);
  for (int t = 0; t < steps; ++t) {
    const Floats sent = step(gradient, residual);
    for (std::size_t i = 0; i < sent.size(); ++i) sum[i] += sent[i];
  }
  double error = 0;
  double power = 0;
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    error += std::pow(sum[i] / steps - gradient[i], 2);
    power += std::pow(static_cast<double>(gradient[i]), 2);
  }
  return std::sqrt(error / power);
}

TEST(ErrorFeedback, ConstantGradientAveragesOut) {
  for (const std::string& spec : onebit_specs()) {
    const double early = average_error(with_feedback(spec), 1000);
    const double late = average_error(with_feedback(spec), 10000);
    EXPECT_LT(late, 0.01) << spec;
    EXPECT_LT(late, early / 5) << spec << ": the error falls as 1/T";
    EXPECT_GT(average_error(without_feedback(spec), 1000), 0.5) << spec;
  }
  EXPECT_GT(average_error(forgetful("onebit"), 10000), 0.05);
}

/// Subgradient descent on |x + y| / 2 + |x - y| from (1, 1); returns the value reached. The signs of a
/// subgradient are always those of (1, -1) or (-1, 1), so that steps along the signs never get nearer to the
/// minimum at (0, 0).
double convex_value(const Step& step) {
  const auto sign = [](float value) { return value > 0 ? 1.0F : -1.0F; };
  const auto value = [](const Floats& x) { return std::fabs(x[0] + x[1]) / 2 + std::fabs(x[0] - x[1]); };
  Floats x{1.0F, 1.0F};
  Floats residual(2, 0.0F);
  for (int t = 0; t < 5000; ++t) {
    const float along = sign(x[0] + x[1]) / 2;
    const float across = sign(x[0] - x[1]);
    const Floats sent = step({along + across, along - across}, residual);
    for (std::size_t i = 0; i < 2; ++i) x[i] -= 0.001F * sent[i];
  }
  return value(x);
}

TEST(ErrorFeedback, ConvexExample) {
  for (const char* spec : {"onebit:scale=l1", "onebit:scale=l2"}) {
    EXPECT_LT(convex_value(with_feedback(spec)), 0.02) << spec;
    EXPECT_GT(convex_value(without_feedback(spec)), 0.9) << spec;
  }
}

}  // namespace
}  // namespace gradwire::compress
