#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/exit_status.hpp"
#include "cli/launcher.hpp"
#include "gradwire/communicator.hpp"
#include "gradwire/error.hpp"

namespace gradwire::cli {

/// More processes than this on one host are a slip of the finger.
inline constexpr int kMaxLocalRanks = 1024;

/// All that can connect ranks that are processes.
std::vector<std::string> process_transports();
/// With "auto", for --help and messages.
std::string known_transports();
std::string known_algorithms();

/// Adds --json, which says `what` in --help. A file that could not be written is refused when the command
/// line is read.
void add_json_option(CLI::App& command, std::string& file, const std::string& what);

/// The options of every command that is itself a job of several ranks.
struct RankOptions {
  int ranks = 0;                         ///< 0: not given
  std::string ranks_option = "--ranks";  ///< what the command calls it
  std::string transport{};
  std::string link_rate{};
  std::vector<std::string> command_line{};  ///< of this program, from its name on
};

/// Adds --ranks, --transport and --link-rate.
void add_rank_options(CLI::App& command, RankOptions& options);
/// Without --ranks.
void add_network_options(CLI::App& command, RankOptions& options);

/// To be called first in such a command. Returns at once in a rank: one that a launcher started, or the only
/// one. With --ranks and no launcher around, it starts that many copies of this program, waits for them, and
/// throws their ExitStatus.
/// `servers` are the arguments of this program for what it starts beside the ranks; then a single rank is a
/// process of its own, too. `survival` is what happens when one of them fails.
void become_rank(const RankOptions& options, const std::vector<std::vector<std::string>>& servers = {},
                 const Survival& survival = {});

/// Does what throws Error(invalid_argument, unsupported) when the command line makes no sense, and makes that
/// a UsageError.
template <typename Check>
auto check_usage(const Check& check) {
  try {
    return check();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::invalid_argument && error.code() != ErrorCode::unsupported) throw;
    throw UsageError(error.what());
  }
}
/// Refuses what ranks that are processes could not connect by; "" means that nothing was asked for. Throws
/// UsageError.
void check_network(const std::string& transport, const std::string& link_rate);
/// Refuses mpi in a list of transports for ranks that are not started by MPI. Throws UsageError.
void refuse_mpi_here(const std::string& transports);
/// Refuses a file whose folder cannot be written to. Throws Error.
void require_folder(const std::string& option, const std::string& file);

/// The environment's options, overridden by the command line's.
CommunicatorOptions communicator_options(const RankOptions& options);

/// A line on stderr that begins with the program's name, and with the rank where several may speak.
void say(const std::string& sentence);

/// Writes `text` to the file, or to stdout when it is "-". Throws Error(system).
void write_text(const std::string& path, const std::string& text);

// One file each; the callback of the subcommand does the work, and throws Error, UsageError or ExitStatus.
void add_run_command(CLI::App& app);
void add_info_command(CLI::App& app);
void add_serve_command(CLI::App& app);
void add_plan_command(CLI::App& app);
void add_bench_command(CLI::App& app, const std::vector<std::string>& command_line);
void add_train_command(CLI::App& app, const std::vector<std::string>& command_line);

}  // namespace gradwire::cli
