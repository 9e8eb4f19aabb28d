#include "cli/server_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.hpp"
#include "cli/option_checks.hpp"
#include "gradwire/communicator.hpp"

namespace gradwire::cli {

void add_server_options(CLI::App& command, ServerOptions& options, const std::string& group,
                        const std::string& more) {
  auto* const servers =
      command
          .add_option("--servers", options.servers,
                      "Servers to start here, unless --server-addresses says where they are")
          ->check(CLI::Range(1, kMaxLocalRanks))
          ->type_name("N")
          ->group(group);
  if (options.servers != 0) servers->capture_default_str();
  command
      .add_option("--server-addresses", options.addresses, "HOST:PORT of each server, in their order" + more)
      ->type_name("ADDRESS,...")
      ->group(group);
  command
      .add_option("--job", options.job,
                  "That of the servers at --server-addresses; without it, what GRADWIRE_JOB says")
      ->transform(named())
      ->type_name("NAME")
      ->group(group);
  const char* const hidden = "";
  command.add_option("--started-servers", options.started)->group(hidden);
}

std::vector<std::string> server_addresses(const CLI::App& command, const ServerOptions& options) {
  const bool are_named = command.count("--server-addresses") > 0;
  if (are_named && command.count("--servers") > 0) {
    throw UsageError(
        "--servers starts servers, and --server-addresses names those that run already; give one of the two");
  }
  if (!are_named && command.count("--job") > 0) {
    throw UsageError("--job names the job of the servers at --server-addresses; give both, or neither");
  }
  if (are_named) return parse_addresses("--server-addresses", options.addresses);
  if (options.started.empty()) return {};
  return parse_addresses("--started-servers", options.started);
}

void pass_started_servers(const std::vector<std::string>& addresses, std::vector<std::string>& command_line) {
  command_line.insert(command_line.end(),
                      {"--started-servers", fmt::format("{}", fmt::join(addresses, ","))});
}

void pass_servers_job(const ServerOptions& options, std::vector<std::string>& command_line) {
  if (!options.job.empty()) return;
  command_line.insert(command_line.end(), {"--job", Communicator::options_from_environment().job});
}

}  // namespace gradwire::cli
