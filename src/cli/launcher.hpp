#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace gradwire::cli {

/// How to start the ranks of a job on this host.
struct LaunchOptions {
  int ranks = 1;
  /// The program, looked up in PATH, and its arguments.
  std::vector<std::string> command;
  /// Set for every rank on top of what this process has.
  std::vector<std::pair<std::string, std::string>> environment;
  /// True: every line that a rank prints begins with "[rank] ". False: ranks write where this process writes.
  bool prefix_output = true;
  /// After a rank has failed the others have this long to say what they saw, before SIGTERM.
  std::chrono::milliseconds last_words{1000};
  /// From SIGTERM to SIGKILL.
  std::chrono::milliseconds grace{5000};
};

/// Starts the ranks, forwards SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 to them, and waits. When
/// one fails the others are ended. Ranks die with this process, however it dies. Call it from the main thread
/// of a program without other threads. Returns 0, or the status of the first rank that failed: 128 + signal
/// when a signal killed it, 127 when the program does not exist, 126 when it cannot be run. Says on stderr
/// what failed.
int launch_local_ranks(const LaunchOptions& options);

/// The same, with this program and its own arguments as the command, and output that is not prefixed.
int launch_this_program(int ranks, std::vector<std::pair<std::string, std::string>> environment = {});

}  // namespace gradwire::cli
