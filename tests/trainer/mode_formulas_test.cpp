#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gradwire/parameter_server.hpp"
#include "rank_threads.hpp"
#include "trainer/agreement.hpp"
#include "trainer/host_compute.hpp"
#include "trainer/mlp.hpp"
#include "trainer/shard_sampler.hpp"
#include "trainer/softmax_loss.hpp"

// What docs/modes.md says of each mode, computed here in the plainest way on one thread.
namespace gradwire::trainer {
namespace {

using Values = std::vector<float>;

constexpr std::size_t kSteps = 12;

/// A rank's samples and what they make of weights.
class PlainRank {
 public:
  PlainRank(const Dataset& data, const TrainOptions& options, int rank, int ranks)
      : data_(data),
        model_(compute_, {static_cast<int>(data.features), 48, 32, static_cast<int>(data.classes)},
               options.batch),
        sampler_(data.train.count(), rank, ranks, options.batch, options.seed) {
    model_.initialize(options.seed);
  }

  [[nodiscard]] Values initial() { return {model_.weights().begin(), model_.weights().end()}; }

  /// Of the mean loss over the rank's samples of a step.
  Values gradient(const Values& weights, std::uint64_t step) {
    std::ranges::copy(weights, model_.weights().begin());
    const auto indices = sampler_.local(step);
    data_.gather(data_.train, indices, model_.inputs());
    std::vector<std::uint8_t> labels;
    for (const auto index : indices) labels.push_back(data_.train.labels[index]);
    const auto logits = model_.forward(indices.size());
    softmax_cross_entropy(logits, data_.classes, labels, 1.0F / static_cast<float>(indices.size()));
    model_.backward(indices.size(), [](int) {});
    return {model_.gradients().begin(), model_.gradients().end()};
  }

 private:
  const Dataset& data_;
  HostCompute compute_;
  Mlp model_;
  ShardSampler sampler_;
};

/// One element at a time of several vectors of a size.
template <typename Function, typename... Others>
void each(Function function, Values& first, Others&... others) {
  for (std::size_t i = 0; i < first.size(); ++i) function(first[i], others[i]...);
}

class ModeFormulas : public testing::Test {
 protected:
  ModeFormulas() {
    options_.steps = kSteps;
    options_.sgd = {.learning_rate = kRate, .momentum = kMomentum, .weight_decay = 0};
  }

  void sgd(Values& weights, Values& velocity, const Values& gradient) const {
    each(
        [](float& w, float& v, const float& g) {
          v = kMomentum * v + g;
          w -= kRate * v;
        },
        weights, velocity, gradient);
  }

  void expect_trained_to(int ranks, const Values& weights) const {
    EXPECT_EQ(train_mode(ranks, options_, data_).weights_fingerprint,
              fingerprint(std::as_bytes(std::span(weights))));
  }

  static constexpr float kRate = 0.05F;
  static constexpr float kMomentum = 0.5F;

  const Dataset data_ = make_data(480);
  TrainOptions options_ = small_options();
};

TEST_F(ModeFormulas, ADelayedGradientIsExactlyOneStepLate) {
  options_.modes.delay = 1;
  options_.eval_every = 3;  // A look does not hurry what is under way.
  PlainRank rank(data_, options_, 0, 1);
  Values weights = rank.initial();
  Values velocity(weights.size());
  Values late;
  for (std::size_t step = 0; step < kSteps; ++step) {
    Values gradient = rank.gradient(weights, step);
    if (step > 0) sgd(weights, velocity, late);
    late = std::move(gradient);
  }
  sgd(weights, velocity, late);
  expect_trained_to(1, weights);
}

class Averaging : public ModeFormulas, public testing::WithParamInterface<Mode> {};
INSTANTIATE_TEST_SUITE_P(Modes, Averaging, testing::Values(Mode::local, Mode::bmuf),
                         [](const auto& test) { return to_string(test.param); });

TEST_P(Averaging, OfModelsIsThatOfTheirMovements) {
  constexpr int kRanks = 2;
  options_.mode = GetParam();
  options_.modes.period = 3;
  const float eta = GetParam() == Mode::bmuf ? 0.5F : 0.0F;
  std::deque<PlainRank> ranks;
  for (int r = 0; r < kRanks; ++r) ranks.emplace_back(data_, options_, r, kRanks);
  Values model = ranks[0].initial();
  Values base = model;
  Values block_momentum(model.size());
  std::vector<Values> velocity(kRanks, Values(model.size()));
  for (std::size_t step = 0; step < kSteps; step += options_.modes.period) {
    std::vector<Values> weights(kRanks, base);
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      for (std::size_t i = step; i < step + options_.modes.period; ++i) {
        sgd(weights[r], velocity[r], ranks[r].gradient(weights[r], i));
      }
    }
    each(
        [&](float& w, float& b, float& d, const float& one, const float& other) {
          d = eta * d + ((one - b) + (other - b)) / 2;
          w += d;
          b = w + eta * d;
        },
        model, base, block_momentum, weights[0], weights[1]);
  }
  expect_trained_to(kRanks, model);
}

/// One after the other at the same servers, where the second goes on from what the first has left and not
/// from its seed's weights. Each has one worker, so that pushes and pulls have an order.
class TwoJobs : public ModeFormulas {
 protected:
  TwoJobs() {
    options_.job = "formulas";
    ParameterServerOptions server_options;
    server_options.job = options_.job;
    server_.emplace(server_options);
    options_.modes.server_addresses = {server_->address()};
  }

  static constexpr std::uint64_t kSeeds[] = {1, 2};

 private:
  std::optional<ParameterServer> server_;
};

TEST_F(TwoJobs, ElasticRankAndCentreMoveTowardsEachOther) {
  constexpr float kAlpha = 0.25F;
  options_.mode = Mode::elastic;
  options_.modes.period = 4;
  options_.modes.alpha = kAlpha;
  Values centre;
  for (const std::uint64_t seed : kSeeds) {
    options_.seed = seed;
    PlainRank rank(data_, options_, 0, 1);
    if (centre.empty()) centre = rank.initial();
    Values weights = centre;
    Values velocity(weights.size());
    for (std::size_t step = 0; step < kSteps; ++step) {
      sgd(weights, velocity, rank.gradient(weights, step));
      if ((step + 1) % options_.modes.period != 0) continue;
      each(
          [](float& w, float& c) {
            const float difference = w - c;
            w -= kAlpha * difference;
            c += kAlpha * difference;
          },
          weights, centre);
    }
    expect_trained_to(1, centre);
  }
}

TEST_F(TwoJobs, AGroupsMeanGradientIsAStepOfTheServers) {
  constexpr int kRanks = 2;
  options_.mode = Mode::groups;
  options_.modes.group_size = kRanks;
  Values weights;
  Values velocity;
  for (const std::uint64_t seed : kSeeds) {
    options_.seed = seed;
    std::deque<PlainRank> ranks;
    for (int r = 0; r < kRanks; ++r) ranks.emplace_back(data_, options_, r, kRanks);
    if (weights.empty()) weights = ranks[0].initial();
    velocity.resize(weights.size());
    for (std::size_t step = 0; step < kSteps; ++step) {
      Values mean = ranks[0].gradient(weights, step);
      Values other = ranks[1].gradient(weights, step);
      each([](float& m, const float& o) { m = (m + o) / 2; }, mean, other);
      sgd(weights, velocity, mean);
    }
    expect_trained_to(kRanks, weights);
  }
}

}  // namespace
}  // namespace gradwire::trainer
