#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace gradwire::cli {

/// How a job outlives its processes. Each that fails is started again as long as restarts are left, but not
/// one that ends with kUsage: it would end so again.
struct Survival {
  bool ranks = false;  ///< ranks, once one has told that the job has begun: a failure does not end the others
  bool servers = false;               ///< servers, which find what they knew when they are started again
  int restarts = 0;                   ///< in all
  std::vector<std::string> rejoin{};  ///< arguments that a rank gets when it is started again, behind its own
};

/// How to start the ranks of a job on this host.
struct LaunchOptions {
  int ranks = 1;
  /// The program, looked up in PATH, and its arguments.
  std::vector<std::string> command;
  /// Commands of servers that the ranks need: started like the ranks, but without a rank's number, and ended
  /// with SIGTERM once all ranks have ended; how they end then is said, and not the job's result. One that
  /// ends before fails the job, unless it is started again.
  std::vector<std::vector<std::string>> servers{};
  Survival survival{};
  /// Set for every rank on top of what this process has.
  std::vector<std::pair<std::string, std::string>> environment;
  /// True: every line that a rank prints begins with "[rank] ". False: ranks write where this process writes.
  bool prefix_output = true;
  /// After a rank has failed the others have this long to say what they saw, before SIGTERM.
  std::chrono::milliseconds last_words{1000};
  /// From SIGTERM to SIGKILL.
  std::chrono::milliseconds grace{5000};
  /// The same for servers that nobody needs any more: they write down what they know.
  std::chrono::milliseconds servers_grace{60'000};
};

/// How a rank ended.
struct RankEnd {
  /// As a shell gives it, 128 + signal when a signal killed it; empty when nobody knows.
  std::optional<int> status;
  int signal = 0;      ///< that killed it, or 0
  double seconds = 0;  ///< from its start
};

struct LaunchResult {
  /// 0, or that of the first rank that failed and was not started again; 127 when the program does not exist,
  /// 126 when it cannot be run, 128 + signal when a signal ended the wait for whoever takes the output.
  int status = 0;
  std::vector<RankEnd> ranks;  ///< by rank; none when not all of them could be started
};

/// Starts the ranks, forwards SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 to them unless they are
/// ignored, and waits. When one fails the others are ended, unless it is survived. Ranks die with this
/// process, however it dies. Call it from the main thread of a program without other threads. Says on stderr
/// what failed.
LaunchResult launch_local_ranks(const LaunchOptions& options);

/// The same with this program for ranks and servers. All arguments begin with its own name; output is not
/// prefixed.
LaunchResult launch_this_program(const std::vector<std::string>& arguments, int ranks,
                                 std::vector<std::vector<std::string>> servers = {},
                                 const Survival& survival = {});

}  // namespace gradwire::cli
