#pragma once

#include <CLI/CLI.hpp>
#include <stdexcept>
#include <string>

#include "gradwire/communicator.hpp"

namespace gradwire::cli {

inline constexpr int kFailure = 1;  ///< something went wrong, or a check did not hold
inline constexpr int kUsage = 2;    ///< the command line makes no sense

/// More processes than this on one host are a slip of the finger.
inline constexpr int kMaxLocalRanks = 1024;

/// Thrown by a command to end the program with `status` once everything has been said.
struct ExitStatus {
  int status = 0;
};

/// Thrown for a command line that parses but makes no sense: main prints the sentence and exits with kUsage.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The options of every command that is itself a job of several ranks.
struct RankOptions {
  int ranks = 0;  ///< 0: not given
  std::string transport;
  std::string link_rate;
};

/// Adds --ranks, --transport and --link-rate.
void add_rank_options(CLI::App& command, RankOptions& options);

/// To be called first in such a command. Returns at once in a rank: one that a launcher started, or the only
/// one. With --ranks and no launcher around, it starts that many copies of this program, waits for them, and
/// throws their ExitStatus.
void become_rank(const RankOptions& options);

/// The environment's options, overridden by the command line's.
CommunicatorOptions communicator_options(const RankOptions& options);

/// Writes `text` to the file, or to stdout when it is "-". Throws Error(system).
void write_text(const std::string& path, const std::string& text);

// One file each; the callback of the subcommand does the work, and throws Error, UsageError or ExitStatus.
void add_run_command(CLI::App& app);
void add_info_command(CLI::App& app);
void add_plan_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_train_command(CLI::App& app);

}  // namespace gradwire::cli
