#pragma once

#include "gradwire/reducer.hpp"
#include "trainer/loss_slot.hpp"
#include "trainer/sgd.hpp"
#include "trainer/training_mode.hpp"

namespace gradwire::trainer {

/// Every step's gradients are averaged over all ranks before the step (F. Seide et al., Interspeech 2014,
/// with one-bit gradients).
class AllreduceMode final : public TrainingMode {
 public:
  explicit AllreduceMode(const ModeContext& context);

  void begin(std::uint64_t first) override;
  void begin_step(std::uint64_t step) override;
  void note_loss(double loss) override;
  void ready(int parameter) override;
  double finish_step(std::uint64_t step) override;

  [[nodiscard]] std::uint64_t wire_bytes() const override;
  [[nodiscard]] double exposed_seconds() const override;
  void save(Checkpoint& checkpoint) override;
  void load(const Checkpoint& checkpoint) override;
  [[nodiscard]] std::uint64_t most_state_bytes() const override;

 private:
  ModeContext context_;
  Sgd sgd_;
  std::uint64_t first_ = 0;
  LossSlot loss_;
  Reducer reducer_;
};

}  // namespace gradwire::trainer
