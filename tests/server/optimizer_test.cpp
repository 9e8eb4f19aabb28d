#include "server/optimizer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "expect_error.hpp"
#include "server_calls.hpp"
#include "tests/support/normal_floats.hpp"

namespace gradwire::server {
namespace {

/// One element's value after `steps` steps, computed in double by `formula`.
using Formula = std::function<void(double& x, double g, std::vector<double>& memory, int step)>;

void expect_formula(const std::string& spec, const Formula& formula) {
  constexpr std::size_t kCount = 37;
  constexpr float kFactor = 0.25F;
  const auto optimizer = make_optimizer(spec, kCount);
  Floats value = normal_floats(kCount, 1);
  std::vector<double> expected(value.begin(), value.end());
  std::vector<std::vector<double>> memory(kCount, std::vector<double>(2));
  for (int step = 1; step <= 50; ++step) {
    const Floats sum = normal_floats(kCount, 100U + static_cast<unsigned>(step));
    optimizer->begin_step();
    optimizer->step(0, value, sum, {.factor = kFactor, .weight = kFactor});
    for (std::size_t i = 0; i < kCount; ++i) formula(expected[i], double{sum[i]} * kFactor, memory[i], step);
  }
  for (std::size_t i = 0; i < kCount; ++i)
    EXPECT_NEAR(value[i], expected[i], 2e-5) << spec << " element " << i;
}

TEST(Optimizer, MakesTheStepsOfItsFormula) {
  expect_formula("sgd:lr=0.1", [](double& x, double g, auto&, int) { x -= 0.1 * g; });
  expect_formula("momentum:lr=0.1,mu=0.9", [](double& x, double g, auto& m, int) {
    m[0] = 0.9 * m[0] + g;
    x -= 0.1 * m[0];
  });
  expect_formula("adagrad:lr=0.05,eps=1e-8", [](double& x, double g, auto& m, int) {
    m[0] += g * g;
    x -= 0.05 * g / (std::sqrt(m[0]) + 1e-8);
  });
  expect_formula("adam:lr=0.01,beta1=0.8,beta2=0.95,eps=1e-6", [](double& x, double g, auto& m, int step) {
    m[0] = 0.8 * m[0] + 0.2 * g;
    m[1] = 0.95 * m[1] + 0.05 * g * g;
    const double mean = m[0] / (1 - std::pow(0.8, step));
    const double power = m[1] / (1 - std::pow(0.95, step));
    x -= 0.01 * mean / (std::sqrt(power) + 1e-6);
  });
  expect_formula("average", [](double& x, double g, auto&, int) { x = 0.75 * x + g; });
  // The sum counts whole, whatever its factor is.
  expect_formula("elastic:alpha=0.2", [](double& x, double g, auto&, int) { x += 0.2 * 4 * g; });
}

TEST(Optimizer, AverageInStepIsTheMean) {
  const auto optimizer = make_optimizer("average", 3);
  Floats value{5, -7, 1e30F};
  optimizer->step(0, value, Floats{3, 6, -9}, {.factor = 1.0F / 3, .weight = 1});
  EXPECT_EQ(value, (Floats{1, 2, -3}));
}

const std::vector<std::string> all_optimizers{"sgd:lr=0.1",
                                              "momentum:lr=0.1,mu=0.9",
                                              "adagrad:lr=0.05,eps=1e-08",
                                              "adam:lr=0.01,beta1=0.9,beta2=0.999,eps=1e-08",
                                              "average",
                                              "elastic:alpha=0.2"};

TEST(Optimizer, StepsPieceByPieceAreTheSame) {
  for (const std::string& spec : all_optimizers) {
    const auto whole = make_optimizer(spec, 100);
    const auto cut = make_optimizer(spec, 100);
    Floats a = normal_floats(100, 1);
    Floats b = a;
    for (unsigned step = 0; step < 5; ++step) {
      const Floats sum = normal_floats(100, 10 + step);
      const Share share{.factor = 0.5F, .weight = 1};
      whole->begin_step();
      whole->step(0, a, sum, share);
      cut->begin_step();
      cut->step(0, std::span(b).first(48), std::span(sum).first(48), share);
      cut->step(48, std::span(b).subspan(48), std::span(sum).subspan(48), share);
    }
    EXPECT_EQ(a, b) << spec;
  }
}

TEST(Optimizer, ASpecNamesAllOptions) {
  for (const std::string& spec : all_optimizers) EXPECT_EQ(make_optimizer(spec, 0)->spec(), spec);
  EXPECT_EQ(make_optimizer("adam", 0)->spec(), "adam:lr=0.001,beta1=0.9,beta2=0.999,eps=1e-08");
  EXPECT_EQ(make_optimizer("momentum:mu=0.5", 0)->spec(), "momentum:lr=0.1,mu=0.5");
}

TEST(Optimizer, RefusesTheRestWithTheListOfWhatIsAllowed) {
  expect_error(ErrorCode::invalid_argument,
               "sgd:lr=0.1; momentum:lr=0.1,mu=0.9; adagrad:lr=0.01,eps=1e-10; adam",
               [] { make_optimizer("rmsprop:lr=1", 1); });
  expect_error(ErrorCode::invalid_argument, "elastic:alpha=0.1", [] { make_optimizer("", 1); });
  expect_error(ErrorCode::invalid_argument, "'mu=1' is no option", [] { make_optimizer("sgd:mu=1", 1); });
  expect_error(ErrorCode::invalid_argument, "mu from 0 to 0.99999994",
               [] { make_optimizer("momentum:mu=1", 1); });
  expect_error(ErrorCode::invalid_argument, "lr is given twice", [] { make_optimizer("sgd:lr=1,lr=1", 1); });
  for (const std::string spec :
       {"sgd:", "sgd:lr", "sgd:lr=", "sgd:lr=x", "sgd:lr=-1", "sgd:lr=nan", "sgd:lr=inf", "sgd:lr=1,",
        "sgd:lr=1 ", "average:lr=1", "elastic:alpha=2", "SGD"}) {
    expect_error(ErrorCode::invalid_argument, "allowed", [&] { make_optimizer(spec, 1); });
  }
}

}  // namespace
}  // namespace gradwire::server
