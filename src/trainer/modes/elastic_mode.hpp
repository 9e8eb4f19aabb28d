#pragma once

#include "trainer/float_arena.hpp"
#include "trainer/host_view.hpp"
#include "trainer/modes/server_worker.hpp"
#include "trainer/sgd.hpp"
#include "trainer/training_mode.hpp"

namespace gradwire::trainer {

/// Ranks train alone; every options.modes.period steps a rank's model and the servers' centre move towards
/// each other by alpha times their difference, asynchronously (S. Zhang, A. Choromanska and Y. LeCun, "Deep
/// Learning with Elastic Averaging SGD", NIPS 2015).
class ElasticMode final : public TrainingMode {
 public:
  explicit ElasticMode(const ModeContext& context);

  void begin(std::uint64_t first) override;
  [[nodiscard]] bool is_weighted() const noexcept override { return false; }
  void begin_step(std::uint64_t step) override;
  void note_loss(double loss) override { loss_ = loss; }
  double finish_step(std::uint64_t step) override;
  /// Shows the centre, as rank 0 sees it.
  void settle() override;

  [[nodiscard]] std::uint64_t next_step(std::uint64_t planned) const override;
  [[nodiscard]] bool keeps_replicas() const noexcept override { return false; }
  [[nodiscard]] std::uint64_t wire_bytes() const override { return worker_.report().wire_bytes_sent; }
  [[nodiscard]] ParameterServerClientReport server_report() const override { return worker_.report(); }
  [[nodiscard]] double exposed_seconds() const override { return exposed_seconds_; }

 private:
  void meet_centre();
  /// Makes it the model.
  void show_centre();
  /// Brings the centre up to what the servers have. When they had gone on without this rank, its model sets
  /// out from there.
  void pull_centre();

  ModeContext context_;
  Sgd sgd_;
  HostView weights_;
  FloatArena centre_;
  FloatArena difference_;
  ServerWorker worker_;  ///< goes before what it was lent
  OwnWeights own_;
  double loss_ = 0;
  double exposed_seconds_ = 0;
};

}  // namespace gradwire::trainer
