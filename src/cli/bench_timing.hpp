#pragma once

#include "cli/bench_board.hpp"
#include "cli/bench_case.hpp"

namespace gradwire::cli {

struct TimingOptions {
  int repetitions = 0;  ///< 0: as many as fit into `seconds`
  double seconds = 0.5;
};

/// Runs the case's plan again and again. A repetition's time is that of the slowest rank; on rank 0 `result`
/// gets the times and bytes.
void measure(BenchCase& one, Communicator& communicator, BenchBoard& board, const TimingOptions& options,
             BenchResult& result);

}  // namespace gradwire::cli
