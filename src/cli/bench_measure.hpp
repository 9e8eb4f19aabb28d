#pragma once

#include "cli/bench_board.hpp"
#include "cli/bench_case.hpp"
#include "cli/bench_timing.hpp"

namespace gradwire::cli {

/// Runs the case's plan again and again. A repetition's time is that of the slowest rank; on rank 0 `result`
/// gets the times and bytes.
void measure(BenchCase& one, Communicator& communicator, BenchBoard& board, const TimingOptions& options,
             BenchResult& result);

}  // namespace gradwire::cli
