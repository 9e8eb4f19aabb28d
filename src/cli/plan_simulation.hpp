#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "gradwire/inspect.hpp"

namespace gradwire::cli {

/// What `gradwire plan` is asked about.
struct PlanRequest {
  std::string collective = "allreduce";
  std::string algorithm = "auto";
  std::string codec = "none";
  int ranks = 0;
  std::vector<int> hosts{};  ///< [rank]; empty: each rank has a host of its own
  std::size_t bytes = 1U << 20U;
  std::string json{};
};

struct SimulationOptions {
  bool simulate = false;
  inspect::Cluster cluster{};
  std::string platform{};  ///< SimGrid's; empty: no traces
  std::string traces{};    ///< the folder that they go to
};

/// Adds --simulate and what it runs on. Returns --simulate.
CLI::Option* add_simulation_options(CLI::App& command, SimulationOptions& options);

/// Prints what the cost model makes of the plan, and writes SimGrid's files. Throws Error, UsageError.
void run_simulation(const PlanRequest& request, const SimulationOptions& options);

}  // namespace gradwire::cli
