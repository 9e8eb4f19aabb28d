#include "cli/job_children.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <random>
#include <utility>

#include "base/usable_cores.hpp"
#include "cli/file_limit.hpp"

namespace gradwire::cli {
namespace {

using Variables = std::vector<std::pair<std::string, std::string>>;

void set_unless_set(Variables& variables, const char* name, const std::string& value) {
  if (std::getenv(name) == nullptr) variables.emplace_back(name, value);
}

Variables shared_variables(const LaunchOptions& options) {
  std::random_device device;
  const std::string job = fmt::format("run-{}-{:08x}{:08x}", ::getpid(), device(), device());
  Variables out{{"GRADWIRE_STORE", "unix://gradwire-" + job}};
  // Servers that run already are those of the job that it names.
  set_unless_set(out, "GRADWIRE_JOB", job);
  const std::string threads = std::to_string(std::max(1, base::usable_cores() / options.ranks));
  set_unless_set(out, "OMP_NUM_THREADS", threads);
  set_unless_set(out, "OPENBLAS_NUM_THREADS", threads);
  set_unless_set(out, "OMP_WAIT_POLICY", "passive");
  if (options.prefix_output) set_unless_set(out, "PYTHONUNBUFFERED", "1");
  out.insert(out.end(), options.environment.begin(), options.environment.end());
  return out;
}

rlim_t files_needed(std::size_t processes) {
  constexpr rlim_t kOthers = 64;
  return 2 * static_cast<rlim_t>(processes) + kOthers;
}

}  // namespace

std::vector<JobChild> children_of(const LaunchOptions& options) {
  std::vector<JobChild> children;
  ChildOptions common;
  common.environment = shared_variables(options);
  common.capture = options.prefix_output;
  if (common.capture) {
    const auto ranks = static_cast<std::size_t>(options.ranks);
    common.file_limit = make_room_for_files(files_needed(ranks + options.servers.size()));
  }
  const auto add = [&](const std::vector<std::string>& command) -> JobChild& {
    auto& child = children.emplace_back(JobChild{{}, {}, common});
    child.options.program = command.at(0);
    child.options.arguments = command;
    return child;
  };
  const auto width = std::to_string(options.ranks - 1).size();
  for (int r = 0; r < options.ranks; ++r) {
    auto& child = add(options.command);
    child.name = fmt::format("rank {}", r);
    child.prefix = fmt::format("[{:>{}}] ", r, width);
    child.options.environment.emplace_back("GRADWIRE_WORLD_SIZE", std::to_string(options.ranks));
    child.options.environment.emplace_back("GRADWIRE_RANK", std::to_string(r));
    child.options.inherit_input = r == 0 && ::isatty(STDIN_FILENO) == 0;
  }
  for (std::size_t i = 0; i < options.servers.size(); ++i) {
    auto& child = add(options.servers[i]);
    child.name = fmt::format("server {}", i);
    child.prefix = fmt::format("[server {}] ", i);
  }
  return children;
}

}  // namespace gradwire::cli
