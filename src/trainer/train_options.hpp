#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "trainer/mode_options.hpp"
#include "trainer/sgd_options.hpp"

namespace gradwire::trainer {

/// What a training run does. All ranks must be given the same, except `device` and `threads`.
struct TrainOptions {
  std::vector<int> hidden = {512, 512};
  std::size_t batch = 64;  ///< samples per rank and step
  SgdOptions sgd;
  std::uint64_t epochs = 5;
  std::uint64_t steps = 0;     ///< if not 0, stop after so many steps instead of after `epochs`
  std::uint64_t seed = 1;      ///< of the initial weights and the shuffle
  std::string device = "cpu";  ///< what computes: see parse_device()

  Mode mode = Mode::allreduce;
  ModeOptions modes;
  std::string straggler;   ///< see parse_straggler()
  double min_step_ms = 0;  ///< computing of a step takes at least so long

  std::string codec = "none";
  std::string algorithm = "auto";
  bool error_feedback = true;
  std::uint64_t warm_start = 0;  ///< so many first steps go uncompressed
  bool overlap = false;          ///< communicate while the backward pass computes
  std::size_t bucket_bytes = 0;  ///< 0: the Reducer's default, or 1 MiB with overlap

  std::uint64_t eval_every =
      0;                   ///< steps between evaluations, besides those at the end of each epoch; 0: none
  std::string checkpoint;  ///< file to write, with the rank as suffix; empty: none
  std::uint64_t checkpoint_every = 0;  ///< steps between checkpoints, besides those at the end of each epoch
  std::string resume;                  ///< file to go on from; empty: start anew
  int threads = 0;  ///< of matrix products per rank; 0: this machine's cores shared among the ranks

  /// server, elastic: ranks that die are started again, so often in all, which needs servers that begin with
  /// this job.
  int restarts = 0;
  /// server, elastic: this rank takes the place of one that died, among others that run.
  bool rejoin = false;
  std::string job;                             ///< that the servers of the modes with servers serve
  std::chrono::milliseconds timeout{300'000};  ///< for those servers to answer
  // Of servers that were started with the job.
  std::string snapshot_dir;          ///< empty: none
  std::uint64_t snapshot_every = 0;  ///< clocks; 0: as `gradwire serve` does
  // What connects the ranks, and the rate that their links were given.
  std::string transport;
  std::string link_rate;
  bool check_payload = false;  ///< checksums between ranks and servers over shared memory, too
};

/// For a job of so many ranks. Throws Error(invalid_argument) that names the option.
void validate(const TrainOptions& options, int ranks);

}  // namespace gradwire::trainer
