#include "cli/bench_report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/table.hpp"

namespace gradwire::cli {
namespace {

Table table() {
  return Table({{"transport", 9, false},
                {"algorithm", 29, false},
                {"codec", 8, false},
                {"size", 7, true},
                {"min us", 9, true},
                {"median us", 9, true},
                {"p99 us", 9, true},
                {"algbw", 7, true},
                {"busbw", 7, true},
                {"wire B/rank", 11, true},
                {"between hosts", 13, true},
                {"identical", 9, false},
                {"oracle", 6, false}});
}

std::string verdict(const std::optional<bool>& good) {
  if (!good) return "-";
  return *good ? "yes" : "NO";
}

nlohmann::ordered_json json_verdict(const std::optional<bool>& good) {
  if (!good) return nullptr;
  return *good;
}

}  // namespace

std::string bench_header() { return table().header(); }

std::string bench_row(const BenchResult& result) {
  return table().row({result.transport, result.algorithm, result.codec, readable_bytes(result.bytes),
                      readable_time(result.min_us), readable_time(result.median_us),
                      readable_time(result.p99_us), fmt::format("{:.3f}", result.algbw()),
                      fmt::format("{:.3f}", result.busbw()), std::to_string(result.wire_bytes_per_rank),
                      std::to_string(result.wire_bytes_between_hosts), verdict(result.identical),
                      verdict(result.equals_oracle)});
}

nlohmann::ordered_json bench_json(const std::vector<BenchResult>& results) {
  nlohmann::ordered_json out;
  out["results"] = nlohmann::ordered_json::array();
  for (const auto& result : results) {
    out["results"].push_back(
        {{"ranks", result.ranks},
         {"transport", result.transport},
         {"algorithm", result.algorithm},
         {"codec", result.codec},
         {"bytes", result.bytes},
         {"time_us", {{"min", result.min_us}, {"median", result.median_us}, {"p99", result.p99_us}}},
         {"algbw_GBps", result.algbw()},
         {"busbw_GBps", result.busbw()},
         {"wire_bytes_per_rank", result.wire_bytes_per_rank},
         {"wire_bytes_between_hosts", result.wire_bytes_between_hosts},
         {"identical", json_verdict(result.identical)},
         {"equals_oracle", json_verdict(result.equals_oracle)}});
  }
  return out;
}

}  // namespace gradwire::cli
