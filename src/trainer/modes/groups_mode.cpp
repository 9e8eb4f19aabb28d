#include "trainer/modes/groups_mode.hpp"

#include <chrono>

#include "trainer/modes/gradient_reducer.hpp"

namespace gradwire::trainer {

GroupsMode::GroupsMode(const ModeContext& context)
    : context_(context),
      group_(context.ranks.comm().split(context.ranks.rank() / context.options.modes.group_size)),
      loss_slot_(1),
      reducer_(
          make_reducer(group_, context, loss_slot_, context.model.gradients(), context.options.overlap)) {
  const int size = context.options.modes.group_size;
  const int groups = (context.ranks.size() + size - 1) / size;
  if (group_.rank() == 0) {
    worker_.emplace(context, context.ranks.rank() / size, groups, "asp");
  }
}

void GroupsMode::begin(std::uint64_t /*first*/) {
  if (worker_) worker_->init(context_.model.weights(), momentum_spec(context_.options.sgd));
  // Servers that are not new had values of their own.
  group_.broadcast(context_.model.weights());
  bytes_before_ = group_.traffic().wire_bytes_sent;
  reducer_.reset_metrics();
}

void GroupsMode::begin_step(std::uint64_t /*step*/) { own_.restore(context_.model.weights()); }

void GroupsMode::note_loss(double loss) {
  loss_slot_[0] = static_cast<float>(loss);
  reducer_.ready(0);
}

void GroupsMode::ready(int parameter) { reducer_.ready(parameter + 1); }

double GroupsMode::finish_step(std::uint64_t step) {
  const auto begin = std::chrono::steady_clock::now();
  wait_for_gradients(reducer_, step);
  const auto loss = static_cast<double>(loss_slot_[0]);
  require_finite_loss(loss, step);
  require_finite_gradients(context_.model.gradients(), step);
  if (worker_) {
    worker_->push_all(context_.model.gradients());
    worker_->clock();
    const auto weights = context_.model.weights();
    (void)worker_->was_missed(weights, [&] {
      worker_->pull_all(weights);
      worker_->flush();
    });
  }
  group_.broadcast(context_.model.weights());
  exposed_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return loss;
}

void GroupsMode::settle() {
  own_.keep(context_.model.weights());
  context_.ranks.comm().broadcast(context_.model.weights());
}

std::uint64_t GroupsMode::wire_bytes() const {
  return group_.traffic().wire_bytes_sent - bytes_before_ + server_report().wire_bytes_sent;
}

ParameterServerClientReport GroupsMode::server_report() const {
  return worker_ ? worker_->report() : ParameterServerClientReport{};
}

}  // namespace gradwire::trainer
