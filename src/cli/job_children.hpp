#pragma once

#include <string>
#include <vector>

#include "cli/child_process.hpp"
#include "cli/launcher.hpp"

namespace gradwire::cli {

/// A process that a job is to start with.
struct JobChild {
  std::string name;    ///< "rank 2"
  std::string prefix;  ///< of each line that it prints
  ChildOptions options;
};

/// The ranks of a job, and behind them its servers. They share a name and a place to meet that are theirs
/// alone. Raises this process's limit of open files as far as taking their output needs.
[[nodiscard]] std::vector<JobChild> children_of(const LaunchOptions& options);

}  // namespace gradwire::cli
