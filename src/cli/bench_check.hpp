#pragma once

#include <string>

#include "cli/bench_board.hpp"
#include "cli/bench_case.hpp"

namespace gradwire::cli {

/// Runs the case twice, the second time with the residuals of the first, and compares every bit of the
/// results and residuals of all ranks with the oracle, which rank 0 runs; what `none` gives also with a sum
/// in double precision. On rank 0 `result` gets the verdicts, and what differs first is returned; empty when
/// nothing does.
std::string check_against_oracle(BenchCase& one, Communicator& communicator, BenchBoard& board,
                                 BenchResult& result);

}  // namespace gradwire::cli
