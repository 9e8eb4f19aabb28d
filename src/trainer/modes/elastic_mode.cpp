#include "trainer/modes/elastic_mode.hpp"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

namespace gradwire::trainer {

ElasticMode::ElasticMode(const ModeContext& context)
    : context_(context),
      sgd_(context.model.weights().size(), context.options.sgd),
      centre_(context.model.weights().size()),
      difference_(context.model.weights().size()),
      worker_(context, context.ranks.rank(), context.ranks.size(), "asp") {}

void ElasticMode::begin(std::uint64_t /*first*/) {
  std::ranges::copy(context_.model.weights(), centre_.begin());
  worker_.init(centre_, fmt::format("elastic:alpha={}", context_.options.modes.alpha));
  // Servers that are not new had a centre of their own.
  std::ranges::copy(centre_, context_.model.weights().begin());
}

void ElasticMode::begin_step(std::uint64_t /*step*/) { own_.restore(context_.model.weights()); }

double ElasticMode::finish_step(std::uint64_t step) {
  require_finite_loss(loss_, step);
  if (!sgd_.step(context_.model.weights(), context_.model.gradients())) {
    throw diverged("a gradient became NaN or infinite", step);
  }
  if ((step + 1) % context_.options.modes.period == 0) meet_centre();
  return loss_;
}

void ElasticMode::meet_centre() {
  const auto begin = std::chrono::steady_clock::now();
  pull_centre();
  const auto weights = context_.model.weights();
  const auto alpha = static_cast<float>(context_.options.modes.alpha);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    difference_[i] = weights[i] - centre_[i];
    weights[i] -= alpha * difference_[i];
  }
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
  std::ranges::copy(centre_, context_.model.weights().begin());
  std::ranges::fill(sgd_.velocity(), 0.0F);
}

std::uint64_t ElasticMode::next_step(std::uint64_t planned) const {
  return std::max(planned, worker_.clocks() * context_.options.modes.period);
}

void ElasticMode::settle() {
  pull_centre();
  (void)context_.ranks.together([](Communicator& comm) { comm.barrier(); });
  pull_centre();
  own_.keep(context_.model.weights());
  std::ranges::copy(centre_, context_.model.weights().begin());
  (void)context_.ranks.together([&](Communicator& comm) { comm.broadcast(context_.model.weights()); });
}

}  // namespace gradwire::trainer
