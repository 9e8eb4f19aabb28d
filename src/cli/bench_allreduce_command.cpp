#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/bench_command.hpp"
#include "cli/bench_lists.hpp"
#include "cli/bench_report.hpp"
#include "cli/bench_sweep.hpp"
#include "cli/command.hpp"
#include "cli/json_text.hpp"
#include "cli/option_checks.hpp"
#include "gradwire/inspect.hpp"

namespace gradwire::cli {
namespace {

constexpr const char* kFooter = R"(
A repetition's time is that of the slowest rank. algbw is bytes/median, busbw is algbw * 2(ranks-1)/ranks, in
GB/s; wire B/rank is what the rank that sends most sends, headers included, and between hosts what all ranks send
to other hosts' ranks. --check compares two operations, the second with the first one's residuals, bit for bit with
the oracle and across ranks, and exits with 1 when a bit differs.

Examples:
  gradwire bench allreduce --ranks 4
  gradwire bench allreduce --ranks 4 --algorithm all --codec all --transport shm,tcp --min 4 --check
  gradwire bench allreduce --ranks 4 --link-rate 100mbit --codec none,onebit --max 16M --json result.json
  mpirun -n 4 gradwire bench allreduce --transport mpi,shm)";

struct AllreduceCommand {
  RankOptions ranks;
  BenchOptions options;
  std::string algorithms = "auto";
  std::string codecs = "none";
  SizeOptions sizes{.max = std::uint64_t{64} << 20U};
  std::string json;
};

/// What can be wrong with the command line is said once, before there are ranks.
void prepare(AllreduceCommand& command) {
  auto& options = command.options;
  options.sizes = parse_sizes(command.sizes.min, command.sizes.max, command.sizes.factor);
  options.algorithms = parse_list(command.algorithms, inspect::algorithms());
  options.codecs = parse_list(command.codecs, inspect::codecs());
  check_network({}, command.ranks.link_rate);
  if (!command.ranks.transport.empty()) {
    auto all = process_transports();
    if (!Communicator::options_from_environment().mpi) std::erase(all, "mpi");
    options.transports = parse_list(command.ranks.transport, all);
    options.leave_out_unsupported = command.ranks.transport == "all";
  }
  for (const auto& transport : options.transports) check_network(transport, command.ranks.link_rate);
  check_usage([&] {
    for (const auto& algorithm : options.algorithms) {
      for (const auto& codec : options.codecs) inspect::describe("allreduce", algorithm, codec, 2, 1);
    }
  });
}

void run(AllreduceCommand& command) {
  prepare(command);
  become_rank(command.ranks);
  CommunicatorOptions job = communicator_options(command.ranks);
  const bool quiet = command.json == "-";
  if (job.rank == 0 && !quiet) write_text("-", bench_header());
  std::vector<BenchResult> results;
  const bool good =
      sweep(command.options, job, [&](const BenchResult& result, const std::string& difference) {
        results.push_back(result);
        if (!quiet) write_text("-", bench_row(result));
        if (!difference.empty()) {
          const std::string line =
              fmt::format("gradwire: check failed: {} {} {} {} bytes: {}\n", result.transport,
                          result.algorithm, result.codec, result.bytes, difference);
          std::fwrite(line.data(), 1, line.size(), stderr);
        }
      });
  if (job.rank == 0 && !command.json.empty()) write_text(command.json, json_text(bench_json(results)));
  if (!good) throw ExitStatus{kFailure};
}

}  // namespace

void add_bench_allreduce_command(CLI::App& bench, const std::vector<std::string>& command_line) {
  auto* const sub =
      bench.add_subcommand("allreduce", "Time allreduces of many sizes, and check their results");
  auto command = std::make_shared<AllreduceCommand>();
  command->ranks.command_line = command_line;
  add_rank_options(*sub, command->ranks);
  sub->add_option("--algorithm", command->algorithms, "auto, names with commas between them, or all")
      ->type_name("NAMES")
      ->capture_default_str();
  sub->add_option("--codec", command->codecs, "codecs with commas between them, or all")
      ->type_name("CODECS")
      ->capture_default_str();
  add_size_options(*sub, command->sizes);
  add_timing_options(*sub, command->options.timing);
  sub->add_flag("--check", command->options.check, "Compare results with the oracle and across ranks");
  sub->add_flag("--average", command->options.average, "Divide sums by the number of ranks");
  sub->add_option("--seed", command->options.seed, "Of the pseudo-random gradients")
      ->transform(not_negative())
      ->type_name("N")
      ->capture_default_str();
  add_json_option(*sub, command->json, "Write the results");
  sub->footer(kFooter);
  sub->callback([command] { run(*command); });
}

}  // namespace gradwire::cli
