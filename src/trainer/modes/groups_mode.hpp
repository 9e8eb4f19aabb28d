#pragma once

#include <optional>

#include "gradwire/reducer.hpp"
#include "trainer/host_view.hpp"
#include "trainer/loss_slot.hpp"
#include "trainer/modes/server_worker.hpp"
#include "trainer/training_mode.hpp"

namespace gradwire::trainer {

/// Ranks in groups: gradients are averaged inside a group at every step, and the first rank of each group is
/// its worker at the servers, asynchronously to the other groups (B. C. Ooi et al., "SINGA", ACM Multimedia
/// 2015).
class GroupsMode final : public TrainingMode {
 public:
  explicit GroupsMode(const ModeContext& context);

  void begin(std::uint64_t first) override;
  void begin_step(std::uint64_t step) override;
  void note_loss(double loss) override;
  void ready(int parameter) override;
  double finish_step(std::uint64_t step) override;
  /// Shows rank 0's weights on all ranks.
  void settle() override;

  [[nodiscard]] bool keeps_replicas() const noexcept override { return false; }
  [[nodiscard]] std::uint64_t wire_bytes() const override;
  [[nodiscard]] ParameterServerClientReport server_report() const override;
  [[nodiscard]] double exposed_seconds() const override { return exposed_seconds_; }

 private:
  ModeContext context_;
  Communicator group_;
  HostView weights_;
  HostView gradients_;
  std::optional<ServerWorker> worker_;  ///< the first rank's; goes before what it was lent
  LossSlot loss_;
  Reducer reducer_;
  OwnWeights own_;
  std::uint64_t bytes_before_ = 0;  ///< what the group had sent when the steps began
  double exposed_seconds_ = 0;
};

}  // namespace gradwire::trainer
