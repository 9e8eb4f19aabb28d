#include "trainer/modes/groups_mode.hpp"

#include <chrono>

#include "trainer/modes/gradient_reducer.hpp"

namespace gradwire::trainer {

GroupsMode::GroupsMode(const ModeContext& context)
    : context_(context),
      group_(context.ranks.comm().split(context.ranks.rank() / context.options.modes.group_size)),
      weights_(context.model.compute(), context.model.weights()),
      gradients_(context.model.compute(), context.model.gradients()),
      loss_(context.model.compute()),
      reducer_(
          make_reducer(group_, context, loss_.span(), context.model.gradients(), context.options.overlap)) {
  const int size = context.options.modes.group_size;
  const int groups = (context.ranks.size() + size - 1) / size;
  if (group_.rank() == 0) {
    worker_.emplace(context, context.ranks.rank() / size, groups, "asp");
  }
}

void GroupsMode::begin(std::uint64_t /*first*/) {
  weights_.fetch();
  if (worker_) worker_->init(weights_.values(), momentum_spec(context_.options.sgd));
  // Servers that are not new had values of their own.
  group_.broadcast(weights_.values());
  weights_.store();
  bytes_before_ = group_.traffic().wire_bytes_sent;
  reducer_.reset_metrics();
}

void GroupsMode::begin_step(std::uint64_t /*step*/) { own_.restore(weights_); }

void GroupsMode::note_loss(double loss) {
  loss_.set(loss);
  reducer_.ready(0);
}

void GroupsMode::ready(int parameter) { reducer_.ready(parameter + 1); }

double GroupsMode::finish_step(std::uint64_t step) {
  const auto begin = std::chrono::steady_clock::now();
  wait_for_gradients(reducer_, step);
  loss_.fetch();
  if (worker_) gradients_.fetch();
  const bool finite = context_.model.compute().is_finite(context_.model.gradients());
  const auto loss = loss_.get();
  require_finite_loss(loss, step);
  require_finite_gradients(finite, step);
  if (worker_) {
    worker_->push_all(gradients_.values());
    worker_->clock();
    const auto weights = weights_.values();
    (void)worker_->was_missed(weights, [&] {
      worker_->pull_all(weights);
      worker_->flush();
    });
  }
  group_.broadcast(weights_.values());
  weights_.store();
  exposed_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return loss;
}

void GroupsMode::settle() {
  own_.keep(weights_.values());
  context_.ranks.comm().broadcast(weights_.values());
  weights_.store();
}

std::uint64_t GroupsMode::wire_bytes() const {
  return group_.traffic().wire_bytes_sent - bytes_before_ + server_report().wire_bytes_sent;
}

ParameterServerClientReport GroupsMode::server_report() const {
  return worker_ ? worker_->report() : ParameterServerClientReport{};
}

}  // namespace gradwire::trainer
