#include "cli/bench_server_report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/table.hpp"

namespace gradwire::cli {
namespace {

Table table() {
  return Table({{"transport", 9, false},
                {"codec", 8, false},
                {"op", 9, false},
                {"size", 7, true},
                {"keys", 4, true},
                {"median us", 9, true},
                {"GB/s", 7, true},
                {"wire GB/s", 9, true},
                {"of memcpy", 9, true},
                {"p50 us", 9, true},
                {"p95 us", 9, true},
                {"p99 us", 9, true}});
}

const std::string& name_of(ServerOp op) { return server_op_names().at(static_cast<std::size_t>(op)); }

}  // namespace

const std::vector<std::string>& server_op_names() {
  static const std::vector<std::string> names{"push", "pull", "push-pull"};
  return names;
}

std::string bench_server_header() { return table().header(); }

std::string bench_server_row(const BenchServerResult& result) {
  return table().row({result.transport, result.codec, name_of(result.op), readable_bytes(result.bytes),
                      std::to_string(result.keys), readable_time(result.median_us),
                      fmt::format("{:.3f}", result.values_gbps()), fmt::format("{:.3f}", result.wire_gbps()),
                      fmt::format("{:.3f}", result.of_memcpy()), readable_time(result.latency_p50_us),
                      readable_time(result.latency_p95_us), readable_time(result.latency_p99_us)});
}

nlohmann::ordered_json bench_server_json(const std::vector<BenchServerResult>& results) {
  nlohmann::ordered_json out;
  out["results"] = nlohmann::ordered_json::array();
  for (const auto& result : results) {
    out["results"].push_back(
        {{"op", name_of(result.op)},
         {"servers", result.servers},
         {"workers", result.workers},
         {"transport", result.transport},
         {"codec", result.codec},
         {"bytes", result.bytes},
         {"keys", result.keys},
         {"time_us", {{"min", result.min_us}, {"median", result.median_us}, {"p99", result.p99_us}}},
         {"values_GBps", result.values_gbps()},
         {"wire_GBps", result.wire_gbps()},
         {"wire_bytes", result.wire_bytes},
         {"memcpy_GBps", result.memcpy_gbps},
         {"of_memcpy", result.of_memcpy()},
         {"latency_us",
          {{"p50", result.latency_p50_us}, {"p95", result.latency_p95_us}, {"p99", result.latency_p99_us}}}});
  }
  return out;
}

}  // namespace gradwire::cli
