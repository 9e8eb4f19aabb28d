#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace gradwire::cli {

/// Which servers a command is to use: those that it starts, or those that run already.
struct ServerOptions {
  int servers = 0;          ///< to start
  std::string addresses{};  ///< of running ones
  std::string job{};        ///< theirs; empty: that of the environment
  /// Where the launcher of this command has started some for its ranks.
  std::string started{};
};

/// Adds --servers, --server-addresses, which `more` says something on in --help, and --job.
void add_server_options(CLI::App& command, ServerOptions& options, const std::string& group,
                        const std::string& more = {});
/// Where they are; none when they are still to be started. Throws UsageError.
[[nodiscard]] std::vector<std::string> server_addresses(const CLI::App& command,
                                                        const ServerOptions& options);

/// Adds to the command line of ranks that are about to be started: the servers that were started for them;
/// the job of servers that run already, for such ranks are given a job of their own.
void pass_started_servers(const std::vector<std::string>& addresses, std::vector<std::string>& command_line);
void pass_servers_job(const ServerOptions& options, std::vector<std::string>& command_line);

}  // namespace gradwire::cli
