#pragma once

#include <cstdint>
#include <functional>

#include "trainer/dataset.hpp"
#include "trainer/rank_group.hpp"
#include "trainer/train_options.hpp"
#include "trainer/train_report.hpp"

namespace gradwire::trainer {

/// How far a run is, after a step.
struct TrainProgress {
  std::uint64_t step = 0;
  std::uint64_t total_steps = 0;
  double train_loss = 0;      ///< of this step: TrainingMode::finish_step() says whose samples' mean
  double test_accuracy = -1;  ///< of the last evaluation; below 0 before the first
  double seconds = 0;
};

using ProgressCallback = std::function<void(const TrainProgress&)>;

/// Trains an MLP on `data`, this rank's part of it; collective. Equal options, rank count and codec give
/// equal weights, bit for bit, in the modes whose ranks wait for each other: docs/modes.md. Throws Error:
/// what validate() throws; non_finite when a loss or gradient is NaN or infinite, on every rank where they
/// share its mean, else where it is; what communication throws. Once training has begun, the modes that do
/// not need all ranks go on when one is lost; `notice` is told so, and when a server is waited for: from any
/// thread.
TrainReport train(RankGroup ranks, const TrainOptions& options, const Dataset& data,
                  const ProgressCallback& progress = {}, const NoticeCallback& notice = {});

}  // namespace gradwire::trainer
