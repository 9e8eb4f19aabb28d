#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/bench_case.hpp"

namespace gradwire::cli {

/// The table's first line, and one line per result. Times are those of the slowest rank, bandwidths follow
/// from the median, both in GB/s of 10^9 bytes.
std::string bench_header();
std::string bench_row(const BenchResult& result);

/// {"results": [...]}
nlohmann::ordered_json bench_json(const std::vector<BenchResult>& results);

}  // namespace gradwire::cli
