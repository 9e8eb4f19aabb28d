#include "cli/command.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "cli/job_process.hpp"
#include "cli/option_checks.hpp"
#include "gradwire/error.hpp"
#include "gradwire/inspect.hpp"

namespace gradwire::cli {
namespace {

/// Whether it connects processes.
bool is_transport(const std::string& name) {
  const auto known = process_transports();
  return name == "auto" || std::ranges::find(known, name) != known.end();
}

/// What is special about a name that is no transport here.
std::string left_out(const std::string& transport) {
  return transport == "mpi" || transport == "ucx" ? ", which this build was made without" : "";
}

/// A run may take hours: what it could not write at its end is better said before it begins.
void require_file(const std::string& option, const std::string& file) {
  require_folder(option, file);
  std::error_code ignored;
  if (std::filesystem::is_directory(file, ignored)) {
    throw Error(ErrorCode::invalid_argument, option + " names '" + file + "', which is a folder",
                "name a file in it");
  }
}

/// What is wrong with a variable is said here once, and not by each rank.
void check_variables(const CommunicatorOptions& job) {
  const auto refuse = [](const char* name, const std::string& value, const std::string& allowed) {
    throw Error(ErrorCode::invalid_argument, fmt::format("{}={} makes no sense", name, value),
                fmt::format("set {} to {}, or unset it", name, allowed));
  };
  if (!is_transport(job.transport) && !left_out(job.transport).empty()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("GRADWIRE_TRANSPORT names {}{}", job.transport, left_out(job.transport)),
                fmt::format("set it to {}, or unset it", known_transports()));
  }
  if (!is_transport(job.transport)) refuse("GRADWIRE_TRANSPORT", job.transport, known_transports());
  if (job.link_rate.empty()) return;
  try {
    inspect::parse_link_rate(job.link_rate);
  } catch (const Error&) {
    refuse("GRADWIRE_LINK_RATE", job.link_rate, "a rate like 100mbit");
  }
}

/// Others may have gone on to the end without rank 0, which is the one that tells of it.
void say_if_unreported(const LaunchResult& result, const Survival& survival) {
  const auto ended_well = [](const RankEnd& end) { return end.status == 0; };
  if (result.ranks.empty() || ended_well(result.ranks[0])) return;
  if (std::ranges::none_of(result.ranks, ended_well)) return;
  const RankEnd& end = result.ranks[0];
  const std::string advice = end.status == kUsage ? "see above what it said"
                             : survival.restarts == 0
                                 ? "with --restarts 1 it is started again, and reports"
                                 : "with more --restarts it is started again, and reports";
  say(fmt::format("there is no report, since rank 0, which writes it, {}; {}", describe(end), advice));
}

/// "rank 2: " where several ranks may say something at once.
std::string speaker() {
  try {
    const auto options = Communicator::options_from_environment();
    return options.world_size > 1 ? fmt::format("rank {}: ", options.rank) : "";
  } catch (const Error&) {
    return "";
  }
}

}  // namespace

void say(const std::string& sentence) {
  const std::string line = "gradwire: " + speaker() + sentence + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

std::vector<std::string> process_transports() {
  auto transports = inspect::transports();
  std::erase(transports, "inproc");
  return transports;
}

std::string known_transports() { return fmt::format("auto, {}", fmt::join(process_transports(), ", ")); }

std::string known_algorithms() {
  return fmt::format("auto, hierarchical, {}", fmt::join(inspect::algorithms(), ", "));
}

void add_rank_options(CLI::App& command, RankOptions& options) {
  command
      .add_option(
          "--ranks", options.ranks,
          "Start this many ranks on this host; without it, be the rank that the environment says, or alone")
      ->check(CLI::Range(1, kMaxLocalRanks))
      ->type_name("N")
      ->group("Job");
  add_network_options(command, options);
}

void add_network_options(CLI::App& command, RankOptions& options) {
  command.add_option("--transport", options.transport, known_transports())->type_name("NAME")->group("Job");
  command
      .add_option("--link-rate", options.link_rate,
                  "Make every rank a host behind a link of this rate, as 100mbit or 1gbit")
      ->type_name("RATE")
      ->group("Job");
}

void check_network(const std::string& transport, const std::string& link_rate) {
  if (!transport.empty() && !is_transport(transport)) {
    throw UsageError(fmt::format("ranks cannot be connected by '{}'{}; there are {}", transport,
                                 left_out(transport), known_transports()));
  }
  if (link_rate.empty()) return;
  check_usage([&] { inspect::parse_link_rate(link_rate); });
  if (transport == "shm") throw UsageError("a link rate needs tcp: shared memory has no link to slow down");
  if (transport == "mpi") throw UsageError("a link rate needs tcp: what MPI sends cannot be slowed down");
  if (transport == "ucx") throw UsageError("a link rate needs tcp: what UCX sends cannot be slowed down");
}

void refuse_mpi_here(const std::string& transports) {
  for (const auto& transport : split_list("--transport", transports)) {
    if (transport != "mpi") continue;
    throw UsageError(
        "ranks that MPI connects are started by MPI: write mpirun -n N before the command, and leave out "
        "what starts ranks here");
  }
}

void require_folder(const std::string& option, const std::string& file) {
  if (file.empty() || file == "-") return;
  auto folder = std::filesystem::path(file).parent_path();
  if (folder.empty()) folder = ".";
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored) || ::access(folder.c_str(), W_OK) != 0) {
    throw Error(ErrorCode::invalid_argument,
                option + " names '" + file + "', whose folder cannot be written to",
                "name a file in a folder that exists and that you may write to");
  }
}

void add_json_option(CLI::App& command, std::string& file, const std::string& what) {
  command.add_option("--json", file, what + " to FILE, - for standard output")
      ->transform(named())
      ->each([](const std::string& name) { require_file("--json", name); })
      ->type_name("FILE");
}

void become_rank(const RankOptions& options, const std::vector<std::vector<std::string>>& servers,
                 const Survival& survival) {
  const auto job = Communicator::options_from_environment();
  check_variables(job);
  const int around = job.world_size;
  if (servers.empty() && (options.ranks == 0 || options.ranks == around)) return;
  if (around > 1 && !servers.empty()) {
    throw UsageError(
        "servers cannot be started here: a launcher has started this rank; start them with gradwire serve, "
        "and name their addresses");
  }
  if (around > 1) {
    throw UsageError(fmt::format("{} {} cannot be had: a launcher has started {} ranks already",
                                 options.ranks_option, options.ranks, around));
  }
  if (options.ranks > 1 || !servers.empty()) {
    const auto& transports = options.transport.empty() ? job.transport : options.transport;
    if (!transports.empty()) refuse_mpi_here(transports);
    const int ranks = std::max(options.ranks, 1);
    const LaunchResult result = launch_this_program(options.command_line, ranks, servers, survival);
    if (survival.ranks) say_if_unreported(result, survival);
    const int status = result.status;
    // The terminal's ^C, and maybe a progress bar, stand in the line where the shell would go on.
    if (status == 128 + SIGINT && ::isatty(STDERR_FILENO) == 1) std::fputc('\n', stderr);
    throw ExitStatus{status};
  }
}

CommunicatorOptions communicator_options(const RankOptions& options) {
  CommunicatorOptions out = Communicator::options_from_environment();
  if (!options.transport.empty()) out.transport = options.transport;
  if (!options.link_rate.empty()) out.link_rate = options.link_rate;
  return out;
}

void write_text(const std::string& path, const std::string& text) {
  const auto check = [&](bool good, const std::string& what) {
    if (good) return;
    throw Error(ErrorCode::system,
                fmt::format("cannot write {}: {}", what, std::generic_category().message(errno)),
                "name a file in a folder that exists, that you may write to, and that has room");
  };
  if (path == "-") {
    const std::size_t wrote = std::fwrite(text.data(), 1, text.size(), stdout);
    check(wrote == text.size() && std::fflush(stdout) == 0, "to standard output");
    return;
  }
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  check(static_cast<bool>(file), fmt::format("'{}'", path));
}

}  // namespace gradwire::cli
