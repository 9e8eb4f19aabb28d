#include "trainer/modes/allreduce_mode.hpp"

#include "trainer/modes/gradient_reducer.hpp"

namespace gradwire::trainer {

AllreduceMode::AllreduceMode(const ModeContext& context)
    : context_(context),
      sgd_(context.model.compute(), context.model.weights().size(), context.options.sgd),
      loss_(context.model.compute()),
      reducer_(make_reducer(context.ranks.comm(), context, loss_.span(), context.model.gradients(),
                            context.options.overlap)) {}

void AllreduceMode::begin(std::uint64_t first) {
  first_ = first;
  if (context_.options.warm_start > first) reducer_.set_codec("none");
  reducer_.reset_metrics();
}

void AllreduceMode::begin_step(std::uint64_t step) {
  if (step == context_.options.warm_start && step != first_) reducer_.set_codec(context_.options.codec);
}

void AllreduceMode::note_loss(double loss) {
  loss_.set(loss);
  reducer_.ready(0);
}

void AllreduceMode::ready(int parameter) { reducer_.ready(parameter + 1); }

double AllreduceMode::finish_step(std::uint64_t step) {
  wait_for_gradients(reducer_, step);
  loss_.fetch();
  const bool finite = sgd_.step(context_.model.weights(), context_.model.gradients());
  const auto loss = loss_.get();
  require_finite_loss(loss, step);
  require_finite_gradients(finite, step);
  return loss;
}

std::uint64_t AllreduceMode::wire_bytes() const { return wire_bytes_of(reducer_); }
double AllreduceMode::exposed_seconds() const { return reducer_.metrics().exposed_seconds; }

void AllreduceMode::save(Checkpoint& checkpoint) {
  checkpoint.velocity.resize(sgd_.velocity().size());
  context_.model.compute().download(sgd_.velocity(), checkpoint.velocity);
  checkpoint.reducer_state = reducer_.save_state();
}

void AllreduceMode::load(const Checkpoint& checkpoint) {
  context_.model.compute().upload(checkpoint.velocity, sgd_.velocity());
  reducer_.load_state(checkpoint.reducer_state);
}

std::uint64_t AllreduceMode::most_state_bytes() const {
  // One float of residual for each gradient and the loss.
  return reducer_.save_state().size() + sizeof(float) * (sgd_.velocity().size() + 1);
}

}  // namespace gradwire::trainer
