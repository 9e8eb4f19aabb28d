#include "trainer/modes/server_mode.hpp"

#include <algorithm>
#include <chrono>

namespace gradwire::trainer {

ServerMode::ServerMode(const ModeContext& context)
    : context_(context),
      worker_(context, context.ranks.rank(), context.ranks.size(), context.options.modes.consistency) {}

void ServerMode::begin(std::uint64_t /*first*/) {
  worker_.init(context_.model.weights(), momentum_spec(context_.options.sgd));
}

void ServerMode::ready(int parameter) { worker_.push(parameter, context_.model.gradient(parameter)); }

double ServerMode::finish_step(std::uint64_t step) {
  require_finite_loss(loss_, step);
  const auto begin = std::chrono::steady_clock::now();
  worker_.clock();
  const auto weights = context_.model.weights();
  (void)worker_.was_missed(weights, [&] {
    // Not before: the backward pass reads the weights.
    worker_.pull_all(weights);
    worker_.flush();
  });
  exposed_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return loss_;
}

std::uint64_t ServerMode::next_step(std::uint64_t planned) const {
  return std::max(planned, worker_.clocks());
}

void ServerMode::begin_step(std::uint64_t /*step*/) { own_.restore(context_.model.weights()); }

void ServerMode::settle() {
  own_.keep(context_.model.weights());
  (void)context_.ranks.together([&](Communicator& comm) { comm.broadcast(context_.model.weights()); });
}

}  // namespace gradwire::trainer
