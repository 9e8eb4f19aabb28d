#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/bench_timing.hpp"

namespace gradwire::cli {

/// What workers ask servers for.
enum class ServerOp : std::uint8_t { push, pull, push_pull };

/// "push", "pull", "push-pull", in the order of the enumerators.
const std::vector<std::string>& server_op_names();

struct BenchServerOptions {
  std::vector<std::vector<std::string>> addresses;  ///< of each codec's servers: a server has one codec
  std::string servers_job;
  std::vector<std::string> codecs;
  std::vector<std::string> transports;
  std::vector<ServerOp> ops;
  std::vector<std::uint64_t> sizes;                ///< bytes of a key, multiples of 4
  std::uint64_t bytes = std::uint64_t{64} << 20U;  ///< of all keys together, as far as that goes
  TimingOptions timing;
  std::function<void(const std::string&)> notice{};  ///< is told when servers are waited for
};

/// What the table and the JSON say of one case.
struct BenchServerResult {
  ServerOp op{};
  int servers = 1;
  int workers = 1;
  std::string transport;
  std::string codec;
  std::uint64_t bytes = 0;  ///< of a key
  std::size_t keys = 1;
  double min_us = 0;  ///< of all keys, on the slowest worker
  double median_us = 0;
  double p99_us = 0;
  std::uint64_t wire_bytes = 0;  ///< that a repetition sends and receives on all workers together
  double latency_p50_us = 0;     ///< of requests one at a time
  double latency_p95_us = 0;
  double latency_p99_us = 0;
  double memcpy_gbps = 0;  ///< of one core, beside this case

  /// Bytes of values that all workers together push and pull in a repetition.
  [[nodiscard]] double value_bytes() const {
    const int directions = op == ServerOp::push_pull ? 2 : 1;
    return static_cast<double>(bytes) * static_cast<double>(keys) * workers * directions;
  }
  [[nodiscard]] double values_gbps() const { return value_bytes() / median_us * 1e-3; }
  [[nodiscard]] double wire_gbps() const { return static_cast<double>(wire_bytes) / median_us * 1e-3; }
  [[nodiscard]] double of_memcpy() const { return values_gbps() / memcpy_gbps; }
};

}  // namespace gradwire::cli
