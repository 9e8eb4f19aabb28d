#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/bench_case.hpp"
#include "cli/bench_timing.hpp"

namespace gradwire::cli {

struct BenchOptions {
  std::vector<std::string> transports;  ///< empty: the environment's
  bool leave_out_unsupported = false;   ///< of transports, instead of ending there
  std::vector<std::string> algorithms{"auto"};
  std::vector<std::string> codecs{"none"};
  std::vector<std::uint64_t> sizes;  ///< bytes, multiples of 4
  TimingOptions timing;
  bool check = false;
  bool average = false;
  std::uint64_t seed = 1;
};

/// Runs every transport x algorithm x codec x size on all ranks of a job. On rank 0 `report` hears each
/// result at once, with what a failed check found first. Returns whether all checks held, on every rank.
bool sweep(const BenchOptions& options, CommunicatorOptions job,
           const std::function<void(const BenchResult&, const std::string& difference)>& report);

}  // namespace gradwire::cli
