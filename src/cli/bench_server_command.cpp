#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/bench_command.hpp"
#include "cli/bench_lists.hpp"
#include "cli/bench_server_report.hpp"
#include "cli/bench_server_sweep.hpp"
#include "cli/command.hpp"
#include "cli/json_text.hpp"
#include "cli/local_servers.hpp"
#include "cli/option_checks.hpp"
#include "cli/server_options.hpp"
#include "gradwire/inspect.hpp"
#include "trainer/counted.hpp"

namespace gradwire::cli {
namespace {

constexpr const char* kFooter = R"(
Workers go in step (bsp). In a repetition all of them push, pull, or push and pull all keys of a size; its time is that
of the slowest. GB/s is bytes of values that all workers moved over the median, both ways for push-pull; wire GB/s
is what that took on the wire, headers included; of memcpy compares GB/s with what one core copies at the time. p50,
p95 and p99 are of single requests, one key at a time on each worker.

Servers at --server-addresses keep the keys and clocks that this leaves there, in memory and in their snapshots: name
none that a training job uses, and end them afterwards.

Examples:
  gradwire bench server
  gradwire bench server --servers 2 --workers 4 --codec none,onebit --transport shm,tcp
  gradwire bench server --op push-pull --min 1M --max 1M --json result.json
  gradwire bench server --link-rate 100mbit --codec onebit --max 1M --bytes 4M
  gradwire run -n 4 -- gradwire bench server --server-addresses 127.0.0.1:7000,127.0.0.1:7001 --job default)";

constexpr int kUsualWorkers = 2;

struct ServerCommand {
  RankOptions workers{.ranks_option = "--workers"};
  BenchServerOptions options;
  ServerOptions servers{.servers = 1};
  std::vector<std::string> addresses{};  ///< of those that run
  std::string ops = "all";
  std::string codecs = "none";
  SizeOptions sizes{.max = std::uint64_t{16} << 20U};
  std::string json;
};

ServerOp parse_op(const std::string& name) {
  const auto& names = server_op_names();
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<ServerOp>(found - names.begin());
  throw UsageError(fmt::format("workers cannot '{}'; there are {}", name, fmt::join(names, ", ")));
}

/// Each codec has its own servers.
void deal_addresses(ServerCommand& command) {
  const std::size_t codecs = command.options.codecs.size();
  if (command.addresses.size() % codecs != 0) {
    throw UsageError(
        fmt::format("{} cannot be shared by {} codecs: a server serves one codec; name as many "
                    "servers for each",
                    trainer::counted(command.addresses.size(), "address", "addresses"), codecs));
  }
  const auto each = static_cast<std::ptrdiff_t>(command.addresses.size() / codecs);
  for (auto first = command.addresses.begin(); first != command.addresses.end(); first += each) {
    command.options.addresses.emplace_back(first, first + each);
  }
}

/// What can be wrong with the command line is said once, before there are workers.
void prepare(const CLI::App& app, ServerCommand& command) {
  auto& options = command.options;
  command.addresses = server_addresses(app, command.servers);
  options.sizes = parse_sizes(command.sizes.min, command.sizes.max, command.sizes.factor);
  options.codecs = parse_list(command.codecs, inspect::codecs());
  for (const auto& op : parse_list(command.ops, server_op_names())) options.ops.push_back(parse_op(op));
  const auto& link_rate = command.workers.link_rate;
  check_network({}, link_rate);
  auto& transports = command.workers.transport;
  if (!transports.empty()) options.transports = parse_list(transports, {"shm", "tcp"});
  // It is the servers that are reached by these.
  transports.clear();
  for (const auto& transport : options.transports) check_network(transport, link_rate);
  check_usage([&] {
    for (const auto& codec : options.codecs) inspect::describe("allreduce", "auto", codec, 2, 1);
  });
  deal_addresses(command);
}

/// What cannot be had would be noticed after minutes of smaller sizes, and perhaps by other processes first.
void require_memory(const ServerCommand& command, int workers) {
  const auto host =
      static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  // Each worker has values and gradients, and the servers have at least the values.
  const int copies = 2 * workers + (command.addresses.empty() ? 1 : 0);
  for (const std::uint64_t size : command.options.sizes) {
    const std::size_t keys = key_count(command.options, size);
    const double needed = copies * static_cast<double>(size) * static_cast<double>(keys);
    if (needed <= host) continue;
    constexpr double kGiB = std::uint64_t{1} << 30U;
    throw UsageError(
        fmt::format("{} of {} bytes take {:.0f} GiB of memory at least, and this host has {:.0f}; "
                    "choose a smaller --max or --bytes, or fewer --workers",
                    trainer::counted(keys, "key"), size, needed / kGiB, host / kGiB));
  }
}

/// Returns in a worker, whose command line names servers.
void become_worker(ServerCommand& command) {
  const auto job = communicator_options(command.workers);
  if (command.workers.ranks == 0 && job.world_size == 1) command.workers.ranks = kUsualWorkers;
  // Those that a launcher has started may be on other hosts.
  require_memory(command, job.world_size > 1 ? 1 : std::max(command.workers.ranks, 1));
  auto& line = command.workers.command_line;
  if (!command.addresses.empty()) {
    pass_servers_job(command.servers, line);
    return become_rank(command.workers);
  }
  // Reserved until the servers have been started.
  std::vector<LocalServers> servers;
  std::vector<std::vector<std::string>> commands;
  std::vector<std::string> server_options;
  if (!job.link_rate.empty()) server_options = {"--link-rate", job.link_rate};
  for (std::size_t codec = 0; codec < command.options.codecs.size(); ++codec) {
    const auto& started = servers.emplace_back(command.servers.servers);
    for (auto& arguments : started.commands(server_options)) commands.push_back(std::move(arguments));
    const auto& addresses = started.addresses();
    command.addresses.insert(command.addresses.end(), addresses.begin(), addresses.end());
  }
  pass_started_servers(command.addresses, line);
  become_rank(command.workers, commands);
}

void run(const CLI::App& app, ServerCommand& command) {
  prepare(app, command);
  become_worker(command);
  const CommunicatorOptions job = communicator_options(command.workers);
  auto& options = command.options;
  options.servers_job = command.servers.job.empty() ? job.job : command.servers.job;
  options.notice = say;
  if (options.transports.empty()) options.transports = {job.transport};
  const bool quiet = command.json == "-";
  if (job.rank == 0 && !quiet) write_text("-", bench_server_header());
  std::vector<BenchServerResult> results;
  sweep_servers(options, job, [&](const BenchServerResult& result) {
    results.push_back(result);
    if (!quiet) write_text("-", bench_server_row(result));
  });
  if (job.rank == 0 && !command.json.empty()) {
    write_text(command.json, json_text(bench_server_json(results)));
  }
}

}  // namespace

void add_bench_server_command(CLI::App& bench, const std::vector<std::string>& command_line) {
  auto* const sub = bench.add_subcommand(
      "server", "Measure how fast workers push to parameter servers and pull from them, by size");
  auto command = std::make_shared<ServerCommand>();
  command->workers.command_line = command_line;
  add_server_options(*sub, command->servers, "Job", "; with several codecs, those of the first one first");
  sub->add_option("--workers", command->workers.ranks,
                  fmt::format("Start this many workers on this host; without it, be the worker that the "
                              "environment says, or start {}",
                              kUsualWorkers))
      ->check(CLI::Range(1, kMaxLocalRanks))
      ->type_name("N")
      ->group("Job");
  add_network_options(*sub, command->workers);
  sub->add_option("--op", command->ops, "push, pull, push-pull, with commas between them, or all")
      ->type_name("OPS")
      ->capture_default_str();
  sub->add_option("--codec", command->codecs, "codecs of both directions with commas between them, or all")
      ->type_name("CODECS")
      ->capture_default_str();
  add_size_options(*sub, command->sizes);
  sub->add_option(
         "--bytes", command->options.bytes,
         "Of values that each worker moves in a repetition: in BYTES/size keys, but 1 to 256 of them")
      ->transform(CLI::AsSizeValue(false))
      ->transform(positive())
      ->type_name("BYTES")
      ->capture_default_str();
  add_timing_options(*sub, command->options.timing);
  add_json_option(*sub, command->json, "Write the results");
  sub->footer(kFooter);
  sub->callback([sub, command] { run(*sub, *command); });
}

}  // namespace gradwire::cli
