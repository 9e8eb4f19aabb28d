#pragma once

#include "gradwire/reducer.hpp"
#include "trainer/loss_slot.hpp"
#include "trainer/sgd.hpp"
#include "trainer/training_mode.hpp"

namespace gradwire::trainer {

/// While a step computes, the gradients of the one before are averaged: each is applied exactly one step late
/// (CNTK's double buffering; F. Seide et al., "On Parallelizability of Stochastic Gradient Descent for Speech
/// DNNs", ICASSP 2014).
class DelayedMode final : public TrainingMode {
 public:
  explicit DelayedMode(const ModeContext& context);

  void begin(std::uint64_t first) override;
  void note_loss(double loss) override;
  double finish_step(std::uint64_t step) override;
  /// Applies what is under way.
  void finish() override;

  [[nodiscard]] std::uint64_t wire_bytes() const override;
  [[nodiscard]] double exposed_seconds() const override;

 private:
  void apply(std::uint64_t step);

  ModeContext context_;
  Sgd sgd_;
  Floats moving_;  ///< the gradients under way, whose place the next ones must not take
  LossSlot loss_;
  double own_loss_ = 0;
  double shown_loss_ = 0;
  bool is_under_way_ = false;
  std::uint64_t last_step_ = 0;
  Reducer reducer_;
};

}  // namespace gradwire::trainer
