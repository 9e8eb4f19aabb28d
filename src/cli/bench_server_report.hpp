#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cli/bench_server_case.hpp"

namespace gradwire::cli {

/// The table's first line, and one line per result. Rates follow from the median, in GB/s of 10^9 bytes.
std::string bench_server_header();
std::string bench_server_row(const BenchServerResult& result);

/// {"results": [...]}
nlohmann::ordered_json bench_server_json(const std::vector<BenchServerResult>& results);

}  // namespace gradwire::cli
