#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "gradwire/error.hpp"
#include "gradwire/parameter_server.hpp"
#include "trainer/checkpoint.hpp"
#include "trainer/mlp.hpp"
#include "trainer/rank_group.hpp"
#include "trainer/train_options.hpp"

namespace gradwire::trainer {

/// What all modes work with. Everything outlives the mode.
struct ModeContext {
  RankGroup& ranks;
  const TrainOptions& options;
  Mlp& model;
  std::string settings{};   ///< of all ranks, for servers to compare
  NoticeCallback notice{};  ///< also called by threads of a parameter server's client
};

/// What a mode of training does with a step's gradients: how they reach the weights, here and on the other
/// ranks. docs/modes.md tells what each is good for. All calls are made on all ranks, in the same order.
class TrainingMode {
 public:
  TrainingMode() = default;
  virtual ~TrainingMode() = default;
  TrainingMode(const TrainingMode&) = delete;
  TrainingMode& operator=(const TrainingMode&) = delete;

  /// The weights are there, the same on all ranks unless this one joins those that run already, and step
  /// `first` comes next.
  virtual void begin(std::uint64_t first) = 0;
  /// The step that comes next: a later one than planned where the others went on without this rank.
  [[nodiscard]] virtual std::uint64_t next_step(std::uint64_t planned) const { return planned; }
  /// Whether each rank's gradients and losses are weighted so that their mean over ranks is that of all
  /// samples; else they are the means over its own samples.
  [[nodiscard]] virtual bool is_weighted() const noexcept { return true; }
  /// Before the forward pass.
  virtual void begin_step(std::uint64_t /*step*/) {}
  /// After the forward pass.
  virtual void note_loss(double loss) = 0;
  /// The gradient of a parameter is complete.
  virtual void ready(int /*parameter*/) {}
  /// All gradients are complete. Brings the weights to where the next forward pass finds them, and returns
  /// the loss to show: the mean over ranks where the mode knows it, else this rank's own. Throws
  /// Error(non_finite) when it or a gradient is not finite: on all ranks where they share the mean, else on
  /// the rank whose it is, before others get anything that is not finite.
  virtual double finish_step(std::uint64_t step) = 0;
  /// No further step comes: what is under way comes to its end.
  virtual void finish() {}
  /// Somebody is about to look at the weights: ranks that are to agree do.
  virtual void settle() {}

  /// Sent by this rank since begin(), headers included, to other ranks and to servers.
  [[nodiscard]] virtual std::uint64_t wire_bytes() const = 0;
  /// What it and the servers have done, if there are any; bytes since begin().
  [[nodiscard]] virtual ParameterServerClientReport server_report() const { return {}; }
  /// Time spent waiting for others since begin().
  [[nodiscard]] virtual double exposed_seconds() const = 0;

  /// Whether every rank comes to the weights that settle() shows by itself, and the same ones: whether there
  /// is anything to compare.
  [[nodiscard]] virtual bool keeps_replicas() const noexcept { return true; }

  /// The mode's own part of a checkpoint, apart from the weights. Modes without checkpoints are never asked.
  virtual void save(Checkpoint& /*checkpoint*/) {}
  virtual void load(const Checkpoint& /*checkpoint*/) {}
  /// How large a reducer's state in a checkpoint can be.
  [[nodiscard]] virtual std::uint64_t most_state_bytes() const { return 0; }
};

/// What to throw when training has diverged; `what` is "the loss became NaN".
[[nodiscard]] Error diverged(const std::string& what, std::uint64_t step);
/// Throws it unless the loss is finite.
void require_finite_loss(double loss, std::uint64_t step);
/// Throws it unless all gradients are.
void require_finite_gradients(bool finite, std::uint64_t step);

/// Of options.mode. Collective. Throws Error.
std::unique_ptr<TrainingMode> make_mode(const ModeContext& context);

}  // namespace gradwire::trainer
