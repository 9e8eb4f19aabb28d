#include "trainer/modes/model_averaging_mode.hpp"

#include "trainer/modes/gradient_reducer.hpp"

namespace gradwire::trainer {

ModelAveragingMode::ModelAveragingMode(const ModeContext& context)
    : context_(context),
      sgd_(context.model.compute(), context.model.weights().size(), context.options.sgd),
      model_(context.model.compute(), context.model.weights().size()),
      base_(context.model.compute(), context.model.weights().size()),
      movement_(context.model.compute(), context.model.weights().size()),
      momentum_(context.model.compute(), context.model.weights().size()),
      // Each rank's movement enters the mean as one of so many: momentum brings it to its full effect.
      block_decay_(context.options.mode == Mode::bmuf ? 1.0F - 1.0F / static_cast<float>(context.ranks.size())
                                                      : 0.0F),
      reducer_(make_reducer(context.ranks.comm(), context, {}, movement_.span(), false)) {}

void ModelAveragingMode::begin(std::uint64_t /*first*/) {
  Compute& compute = context_.model.compute();
  compute.copy(context_.model.weights(), base_.span());
  compute.copy(context_.model.weights(), model_.span());
  reducer_.reset_metrics();
}

double ModelAveragingMode::finish_step(std::uint64_t step) {
  last_step_ = step;
  require_finite_loss(loss_, step);
  require_finite_gradients(sgd_.step(context_.model.weights(), context_.model.gradients()), step);
  if (++steps_alone_ == context_.options.modes.period) average();
  return loss_;
}

void ModelAveragingMode::settle() {
  if (steps_alone_ > 0) average();
}

void ModelAveragingMode::average() {
  steps_alone_ = 0;
  Compute& compute = context_.model.compute();
  compute.subtract(context_.model.weights(), base_.span(), movement_.span());
  wait_for_gradients(reducer_, last_step_);
  // The next block sets out from where momentum alone would take the model.
  compute.block_momentum_step(movement_.span(), momentum_.span(), model_.span(), base_.span(), block_decay_);
  compute.copy(model_.span(), context_.model.weights());
}

void ModelAveragingMode::begin_step(std::uint64_t /*step*/) {
  if (steps_alone_ == 0) context_.model.compute().copy(base_.span(), context_.model.weights());
}

std::uint64_t ModelAveragingMode::wire_bytes() const { return wire_bytes_of(reducer_); }
double ModelAveragingMode::exposed_seconds() const { return reducer_.metrics().exposed_seconds; }

}  // namespace gradwire::trainer
