#pragma once

#include <deque>

#include "trainer/host_view.hpp"
#include "trainer/modes/server_worker.hpp"
#include "trainer/training_mode.hpp"

namespace gradwire::trainer {

/// Gradients are pushed to servers, which keep the weights and their optimizer, and weights are pulled: in
/// step, with bounded staleness or without bounds (M. Li et al., "Scaling Distributed Machine Learning with
/// the Parameter Server", OSDI 2014; Q. Ho et al., NIPS 2013).
class ServerMode final : public TrainingMode {
 public:
  explicit ServerMode(const ModeContext& context);

  void begin(std::uint64_t first) override;
  void begin_step(std::uint64_t step) override;
  void note_loss(double loss) override;
  void ready(int parameter) override;
  double finish_step(std::uint64_t step) override;
  /// Shows rank 0's weights on all ranks; in step all have pulled the same.
  void settle() override;

  [[nodiscard]] std::uint64_t next_step(std::uint64_t planned) const override;
  [[nodiscard]] bool keeps_replicas() const noexcept override { return is_in_step_; }
  [[nodiscard]] std::uint64_t wire_bytes() const override { return worker_.report().wire_bytes_sent; }
  [[nodiscard]] ParameterServerClientReport server_report() const override { return worker_.report(); }
  [[nodiscard]] double exposed_seconds() const override { return exposed_seconds_; }

 private:
  void exchange_next();

  ModeContext context_;
  HostView weights_;
  HostView gradients_;
  ServerWorker worker_;  ///< goes before what it was lent
  bool is_in_step_;
  OwnWeights own_;
  std::deque<int> held_back_;  ///< parameters whose gradients are complete
  std::uint64_t step_ = 0;
  double loss_ = 0;
  double exposed_seconds_ = 0;
};

}  // namespace gradwire::trainer
