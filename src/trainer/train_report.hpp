#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/train_options.hpp"

namespace gradwire::trainer {

/// All seconds are rank 0's and leave evaluations, checkpoints and start-up out.
struct EpochReport {
  std::uint64_t epoch = 0;  ///< from 1
  double train_loss = 0;    ///< mean over the epoch's samples, each as it was met
  double test_accuracy = 0;
  double seconds = 0;
  double cumulative_seconds = 0;
};

struct EvaluationReport {
  std::uint64_t step = 0;
  double train_loss = 0;  ///< mean since the evaluation before
  double test_accuracy = 0;
  double seconds = 0;  ///< of training until now
};

struct TrainReport {
  TrainOptions options;
  std::string data;
  std::vector<int> widths;
  int ranks = 1;
  int threads = 1;
  std::uint64_t steps = 0;  ///< run, without those before a resumed checkpoint
  std::vector<EpochReport> epochs;
  std::vector<EvaluationReport> evaluations;
  double test_accuracy = 0;
  double seconds = 0;
  double samples_per_second = 0;
  double wire_bytes_per_step = 0;            ///< sent by a rank, headers included: the mean over ranks
  double exposed_communication_seconds = 0;  ///< time that rank 0 waited for gradients
  double wire_bytes_received_per_step = 0;   ///< the same, received
  std::uint64_t max_staleness = 0;           ///< of all ranks' pulls from servers
  double mean_staleness = 0;
  std::uint64_t updates_applied = 0;  ///< pushes that servers took and kept, of all ranks, counted in shards
  std::uint64_t updates_lost = 0;     ///< and those that were lost by servers that died
  bool alone = false;                 ///< other ranks were lost: what concerns all is this rank's own
  /// Whether all ranks ended with the same weights; none where that was not compared.
  std::optional<bool> replicas_identical;
  std::uint64_t weights_fingerprint = 0;
};

/// What --json writes; docs/training.md describes it.
nlohmann::json to_json(const TrainReport& report);
/// The summary for people.
std::string to_table(const TrainReport& report);

}  // namespace gradwire::trainer
