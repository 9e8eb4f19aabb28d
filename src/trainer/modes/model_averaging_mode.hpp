#pragma once

#include "gradwire/reducer.hpp"
#include "trainer/sgd.hpp"
#include "trainer/training_mode.hpp"

namespace gradwire::trainer {

/// Ranks train alone for options.period steps; then their models are averaged, the codec encoding how far
/// each has moved since the last time (local SGD; P. Moritz et al., "SparkNet", ICLR 2016). In mode bmuf the
/// mean movement goes through block momentum, with a Nesterov look-ahead (K. Chen and Q. Huo, ICASSP 2016).
class ModelAveragingMode final : public TrainingMode {
 public:
  explicit ModelAveragingMode(const ModeContext& context);

  void begin(std::uint64_t first) override;
  [[nodiscard]] bool is_weighted() const noexcept override { return false; }
  void begin_step(std::uint64_t step) override;
  void note_loss(double loss) override { loss_ = loss; }
  double finish_step(std::uint64_t step) override;
  /// Averages now, unless that was just done.
  void settle() override;

  [[nodiscard]] std::uint64_t wire_bytes() const override;
  [[nodiscard]] double exposed_seconds() const override;

 private:
  void average();

  ModeContext context_;
  Sgd sgd_;
  Floats model_;       ///< what all ranks agreed on last
  Floats base_;        ///< where they set out from, which block momentum puts ahead of it
  Floats movement_;    ///< since then; the mean over ranks once averaged
  Floats momentum_;    ///< of blocks
  float block_decay_;  ///< 0: plain averaging
  double loss_ = 0;
  std::uint64_t steps_alone_ = 0;
  std::uint64_t last_step_ = 0;
  Reducer reducer_;
};

}  // namespace gradwire::trainer
