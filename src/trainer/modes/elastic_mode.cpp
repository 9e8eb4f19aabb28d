#include "trainer/modes/elastic_mode.hpp"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

namespace gradwire::trainer {

ElasticMode::ElasticMode(const ModeContext& context)
    : context_(context),
      sgd_(context.model.compute(), context.model.weights().size(), context.options.sgd),
      weights_(context.model.compute(), context.model.weights()),
      centre_(context.model.weights().size()),
      difference_(context.model.weights().size()),
      worker_(context, context.ranks.rank(), context.ranks.size(), "asp") {}

void ElasticMode::begin(std::uint64_t /*first*/) {
  weights_.fetch();
  std::ranges::copy(weights_.values(), centre_.begin());
  worker_.init(centre_, fmt::format("elastic:alpha={}", context_.options.modes.alpha));
  // Servers that are not new had a centre of their own.
  show_centre();
}

void ElasticMode::show_centre() {
  std::ranges::copy(centre_, weights_.values().begin());
  weights_.store();
}

void ElasticMode::begin_step(std::uint64_t /*step*/) { own_.restore(weights_); }

double ElasticMode::finish_step(std::uint64_t step) {
  require_finite_loss(loss_, step);
  require_finite_gradients(sgd_.step(context_.model.weights(), context_.model.gradients()), step);
  if ((step + 1) % context_.options.modes.period == 0) meet_centre();
  return loss_;
}

void ElasticMode::meet_centre() {
  const auto begin = std::chrono::steady_clock::now();
  pull_centre();
  weights_.fetch();
  const auto weights = weights_.values();
  const auto alpha = static_cast<float>(context_.options.modes.alpha);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    difference_[i] = weights[i] - centre_[i];
    weights[i] -= alpha * difference_[i];
  }
  weights_.store();
  worker_.push_all(difference_);
  worker_.clock();
  exposed_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void ElasticMode::pull_centre() {
  const bool was_missed = worker_.was_missed(centre_, [&] {
    worker_.flush();
    worker_.pull_all(centre_);
  });
  if (!was_missed) return;
  show_centre();
  context_.model.compute().clear(sgd_.velocity());
}

std::uint64_t ElasticMode::next_step(std::uint64_t planned) const {
  return std::max(planned, worker_.clocks() * context_.options.modes.period);
}

void ElasticMode::settle() {
  pull_centre();
  (void)context_.ranks.together([](Communicator& comm) { comm.barrier(); });
  pull_centre();
  weights_.fetch();
  own_.keep(weights_.values());
  std::ranges::copy(centre_, weights_.values().begin());
  (void)context_.ranks.together([&](Communicator& comm) { comm.broadcast(weights_.values()); });
  weights_.store();
}

}  // namespace gradwire::trainer
