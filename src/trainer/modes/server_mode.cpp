#include "trainer/modes/server_mode.hpp"

#include <algorithm>
#include <chrono>

#include "gradwire/consistency.hpp"

namespace gradwire::trainer {

ServerMode::ServerMode(const ModeContext& context)
    : context_(context),
      weights_(context.model.compute(), context.model.weights()),
      gradients_(context.model.compute(), context.model.gradients()),
      worker_(context, context.ranks.rank(), context.ranks.size(), context.options.modes.consistency),
      is_in_step_(parse_consistency(context.options.modes.consistency).is_synchronous()) {}

void ServerMode::begin(std::uint64_t /*first*/) {
  weights_.fetch();
  worker_.init(weights_.values(), momentum_spec(context_.options.sgd));
  weights_.store();
}

/// What is pulled goes where the backward pass reads until the next layer's gradients begin to come.
void ServerMode::ready(int parameter) {
  constexpr std::size_t kParametersOfLayer = 2;
  held_back_.push_back(parameter);
  while (held_back_.size() > kParametersOfLayer) exchange_next();
}

void ServerMode::exchange_next() {
  const int parameter = held_back_.front();
  held_back_.pop_front();
  const Parameter& p = context_.model.parameters()[static_cast<std::size_t>(parameter)];
  gradients_.fetch(p.offset, p.count);
  require_finite_gradients(context_.model.compute().is_finite(context_.model.gradient(parameter)), step_);
  worker_.push_pull(parameter, gradients_.values().subspan(p.offset, p.count), weights_.values());
}

double ServerMode::finish_step(std::uint64_t /*step*/) {
  const auto begin = std::chrono::steady_clock::now();
  while (!held_back_.empty()) exchange_next();
  worker_.clock();
  (void)worker_.was_missed(weights_.values(), [&] {
    worker_.wait();
    worker_.flush();
  });
  weights_.store();
  exposed_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return loss_;
}

std::uint64_t ServerMode::next_step(std::uint64_t planned) const {
  return std::max(planned, worker_.clocks());
}

void ServerMode::begin_step(std::uint64_t step) {
  step_ = step;
  own_.restore(weights_);
}

/// Gradients are pushed as they come: what is wrong has to be known before.
void ServerMode::note_loss(double loss) {
  require_finite_loss(loss, step_);
  loss_ = loss;
}

void ServerMode::settle() {
  if (is_in_step_) return;
  own_.keep(weights_.values());
  (void)context_.ranks.together([&](Communicator& comm) { comm.broadcast(weights_.values()); });
  weights_.store();
}

}  // namespace gradwire::trainer
