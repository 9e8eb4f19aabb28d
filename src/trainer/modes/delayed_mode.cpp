#include "trainer/modes/delayed_mode.hpp"

#include "trainer/modes/gradient_reducer.hpp"

namespace gradwire::trainer {

DelayedMode::DelayedMode(const ModeContext& context)
    : context_(context),
      sgd_(context.model.compute(), context.model.weights().size(), context.options.sgd),
      moving_(context.model.compute(), context.model.gradients().size()),
      loss_(context.model.compute()),
      reducer_(make_reducer(context.ranks.comm(), context, loss_.span(), moving_.span(), true)) {}

void DelayedMode::begin(std::uint64_t /*first*/) { reducer_.reset_metrics(); }

void DelayedMode::note_loss(double loss) {
  own_loss_ = loss;
  if (!is_under_way_) shown_loss_ = loss;
}

double DelayedMode::finish_step(std::uint64_t step) {
  last_step_ = step;
  if (is_under_way_) apply(step);
  context_.model.compute().copy(context_.model.gradients(), moving_.span());
  loss_.set(own_loss_);
  for (int i = 0; i <= static_cast<int>(context_.model.parameters().size()); ++i) reducer_.ready(i);
  is_under_way_ = true;
  return shown_loss_;
}

void DelayedMode::apply(std::uint64_t step) {
  is_under_way_ = false;
  wait_for_gradients(reducer_, step);
  loss_.fetch();
  const bool finite = sgd_.step(context_.model.weights(), moving_.span());
  shown_loss_ = loss_.get();
  require_finite_loss(shown_loss_, step);
  require_finite_gradients(finite, step);
}

void DelayedMode::finish() {
  if (is_under_way_) apply(last_step_);
}

std::uint64_t DelayedMode::wire_bytes() const { return wire_bytes_of(reducer_); }
double DelayedMode::exposed_seconds() const { return reducer_.metrics().exposed_seconds; }

}  // namespace gradwire::trainer
