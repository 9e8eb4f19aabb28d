#include "trainer/modes/model_averaging_mode.hpp"

#include <algorithm>
#include <functional>

#include "trainer/modes/gradient_reducer.hpp"

namespace gradwire::trainer {

ModelAveragingMode::ModelAveragingMode(const ModeContext& context)
    : context_(context),
      sgd_(context.model.weights().size(), context.options.sgd),
      model_(context.model.weights().size()),
      base_(context.model.weights().size()),
      movement_(context.model.weights().size()),
      momentum_(context.model.weights().size()),
      // Each rank's movement enters the mean as one of so many: momentum brings it to its full effect.
      block_decay_(context.options.mode == Mode::bmuf ? 1.0F - 1.0F / static_cast<float>(context.ranks.size())
                                                      : 0.0F),
      reducer_(make_reducer(context.ranks.comm(), context, {}, movement_, false)) {}

void ModelAveragingMode::begin(std::uint64_t /*first*/) {
  std::ranges::copy(context_.model.weights(), base_.begin());
  std::ranges::copy(context_.model.weights(), model_.begin());
  reducer_.reset_metrics();
}

double ModelAveragingMode::finish_step(std::uint64_t step) {
  last_step_ = step;
  require_finite_loss(loss_, step);
  if (!sgd_.step(context_.model.weights(), context_.model.gradients())) {
    throw diverged("a gradient became NaN or infinite", step);
  }
  if (++steps_alone_ == context_.options.modes.period) average();
  return loss_;
}

void ModelAveragingMode::settle() {
  if (steps_alone_ > 0) average();
}

void ModelAveragingMode::average() {
  steps_alone_ = 0;
  const auto weights = context_.model.weights();
  std::ranges::transform(weights, base_, movement_.begin(), std::minus<>());
  wait_for_gradients(reducer_, last_step_);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    momentum_[i] = block_decay_ * momentum_[i] + movement_[i];
    model_[i] += momentum_[i];
    // The next block sets out from where momentum alone would take the model.
    base_[i] = model_[i] + block_decay_ * momentum_[i];
  }
  std::ranges::copy(model_, weights.begin());
}

void ModelAveragingMode::begin_step(std::uint64_t /*step*/) {
  if (steps_alone_ == 0) std::ranges::copy(base_, context_.model.weights().begin());
}

std::uint64_t ModelAveragingMode::wire_bytes() const { return wire_bytes_of(reducer_); }
double ModelAveragingMode::exposed_seconds() const { return reducer_.metrics().exposed_seconds; }

}  // namespace gradwire::trainer
