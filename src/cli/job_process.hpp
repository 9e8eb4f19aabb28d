#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "cli/child_process.hpp"
#include "cli/launcher.hpp"
#include "cli/output_pump.hpp"

namespace gradwire::cli {

/// Plus the signal's number: the status of who was killed, as shells have it.
constexpr int kKilledBy = 128;

/// "was killed by signal 9 (Killed)".
[[nodiscard]] std::string describe(const RankEnd& end);

/// A rank of a job, or a server: one process, and after it those that take its place.
class JobProcess {
 public:
  /// Starts it; `pump` gets what it prints, each line with the prefix. Throws std::system_error.
  JobProcess(std::string name, std::string prefix, ChildOptions options, OutputPump& pump);
  /// Kills what is left of it.
  ~JobProcess();
  JobProcess(const JobProcess&) = delete;
  JobProcess& operator=(const JobProcess&) = delete;

  /// "rank 2".
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// How it ended, if it has.
  [[nodiscard]] const std::optional<RankEnd>& end() const noexcept { return end_; }
  /// Finds out; whether that is new.
  bool has_just_ended();
  /// After its end: starts it once more, with these arguments behind its own. Throws std::system_error.
  void restart(const std::vector<std::string>& arguments, OutputPump& pump);
  void signal(int number) const noexcept { child_.signal(number); }

 private:
  void start(const ChildOptions& options, OutputPump& pump);
  void bury() noexcept;

  std::string name_;
  std::string prefix_;
  ChildOptions options_;
  Child child_;
  std::chrono::steady_clock::time_point started_;
  std::optional<RankEnd> end_;
};

}  // namespace gradwire::cli
