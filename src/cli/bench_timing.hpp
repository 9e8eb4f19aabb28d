#pragma once

#include <functional>
#include <vector>

#include "cli/bench_board.hpp"

namespace gradwire::cli {

struct TimingOptions {
  int repetitions = 0;  ///< 0: as many as fit into `seconds`
  double seconds = 0.5;
};

/// How often to repeat what `once` does, after having done it a few times to warm up; `once` returns the
/// seconds that a repetition takes. The same on every rank: rank 0's clock decides.
int choose_repetitions(const std::function<double()>& once, BenchBoard& board, const TimingOptions& options);

/// On rank 0 each repetition's time on the slowest rank, in ascending order; nothing on the others.
std::vector<double> slowest_times(const std::vector<double>& times, BenchBoard& board);
/// On rank 0 the times of all ranks, in ascending order; nothing on the others.
std::vector<double> all_times(const std::vector<double>& times, BenchBoard& board);

/// Of values in ascending order, the least one that at least the part `q` of them does not exceed.
double quantile(const std::vector<double>& sorted, double q);

}  // namespace gradwire::cli
