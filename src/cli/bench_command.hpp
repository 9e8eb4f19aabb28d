#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/bench_timing.hpp"

namespace gradwire::cli {

/// What parse_sizes() is given.
struct SizeOptions {
  std::uint64_t min = 4096;
  std::uint64_t max = 0;
  double factor = 4;
};

/// Adds --min, --max and --factor.
void add_size_options(CLI::App& command, SizeOptions& options);
/// Adds --repetitions and --seconds.
void add_timing_options(CLI::App& command, TimingOptions& options);

// One file each, as for the commands themselves.
void add_bench_allreduce_command(CLI::App& bench, const std::vector<std::string>& command_line);
void add_bench_server_command(CLI::App& bench, const std::vector<std::string>& command_line);

}  // namespace gradwire::cli
