#include "trainer/modes/delayed_mode.hpp"

#include <algorithm>
#include <utility>

#include "trainer/modes/gradient_reducer.hpp"

namespace gradwire::trainer {

DelayedMode::DelayedMode(const ModeContext& context)
    : context_(context),
      sgd_(context.model.weights().size(), context.options.sgd),
      moving_(context.model.gradients().size()),
      loss_slot_(1),
      reducer_(make_reducer(context.ranks.comm(), context, loss_slot_, moving_, true)) {}

void DelayedMode::begin(std::uint64_t /*first*/) { reducer_.reset_metrics(); }

void DelayedMode::note_loss(double loss) {
  own_loss_ = loss;
  if (!is_under_way_) shown_loss_ = loss;
}

double DelayedMode::finish_step(std::uint64_t step) {
  last_step_ = step;
  if (is_under_way_) apply(step);
  std::ranges::copy(context_.model.gradients(), moving_.begin());
  loss_slot_[0] = static_cast<float>(own_loss_);
  for (int i = 0; i <= static_cast<int>(context_.model.parameters().size()); ++i) reducer_.ready(i);
  is_under_way_ = true;
  return shown_loss_;
}

void DelayedMode::apply(std::uint64_t step) {
  is_under_way_ = false;
  wait_for_gradients(reducer_, step);
  shown_loss_ = static_cast<double>(loss_slot_[0]);
  require_finite_loss(shown_loss_, step);
  if (!sgd_.step(context_.model.weights(), moving_))
    throw diverged("a gradient became NaN or infinite", step);
}

void DelayedMode::finish() {
  if (is_under_way_) apply(last_step_);
}

std::uint64_t DelayedMode::wire_bytes() const { return wire_bytes_of(reducer_); }
double DelayedMode::exposed_seconds() const { return reducer_.metrics().exposed_seconds; }

}  // namespace gradwire::trainer
