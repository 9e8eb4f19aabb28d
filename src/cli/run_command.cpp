#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/command.hpp"
#include "cli/json_text.hpp"
#include "cli/launcher.hpp"
#include "cli/option_checks.hpp"

namespace gradwire::cli {
namespace {

constexpr const char* kFooter = R"(
Output lines begin with the rank that printed them. When a rank fails the others are ended, and its status
is returned: 128 + the signal's number if it was killed, 127 if there is no such program. Each rank gets
cores/ranks OpenMP threads unless OMP_NUM_THREADS is set. Rank 0 reads standard input unless that is a terminal.

Examples:
  gradwire run -n 4 -- python3 train.py
  gradwire run -n 2 --transport tcp -- ./my_program --steps 100
  gradwire run -n 4 --link-rate 100mbit -- gradwire bench allreduce)";

struct RunCommand {
  int ranks = 0;
  std::string transport;
  std::string link_rate;
  double grace = 5;
  std::string json;
  std::vector<std::string> command;
};

std::string to_json(const LaunchResult& result) {
  nlohmann::ordered_json out;
  out["ranks"] = nlohmann::ordered_json::array();
  for (std::size_t rank = 0; rank < result.ranks.size(); ++rank) {
    const RankEnd& end = result.ranks[rank];
    nlohmann::ordered_json entry{
        {"rank", rank}, {"status", nullptr}, {"signal", nullptr}, {"seconds", end.seconds}};
    if (end.status) entry["status"] = *end.status;
    if (end.signal != 0) entry["signal"] = end.signal;
    out["ranks"].push_back(std::move(entry));
  }
  out["status"] = result.status;
  return json_text(out);
}

void run(const RunCommand& command) {
  check_network(command.transport, command.link_rate);
  if (!command.transport.empty()) refuse_mpi_here(command.transport);
  LaunchOptions launch;
  launch.ranks = command.ranks;
  launch.command = command.command;
  launch.grace = std::chrono::milliseconds(static_cast<std::int64_t>(command.grace * 1000));
  if (!command.transport.empty()) launch.environment.emplace_back("GRADWIRE_TRANSPORT", command.transport);
  if (!command.link_rate.empty()) launch.environment.emplace_back("GRADWIRE_LINK_RATE", command.link_rate);
  const LaunchResult result = launch_local_ranks(launch);
  if (!command.json.empty()) write_text(command.json, to_json(result));
  throw ExitStatus{result.status};
}

}  // namespace

void add_run_command(CLI::App& app) {
  auto* const sub = app.add_subcommand("run", "Start the ranks of a job on this host");
  auto command = std::make_shared<RunCommand>();
  sub->add_option("-n,--ranks", command->ranks, "How many ranks to start")
      ->required()
      ->check(CLI::Range(1, kMaxLocalRanks))
      ->type_name("N");
  sub->add_option("--transport", command->transport, known_transports() + ": sets GRADWIRE_TRANSPORT")
      ->type_name("NAME");
  sub->add_option(
         "--link-rate", command->link_rate,
         "Make every rank a host behind a link of this rate, as 100mbit or 1gbit: sets GRADWIRE_LINK_RATE")
      ->type_name("RATE");
  sub->add_option("--grace", command->grace, "Seconds from SIGTERM to SIGKILL when ranks have to be ended")
      ->check(within(0, 3600))
      ->type_name("SECONDS")
      ->capture_default_str();
  add_json_option(*sub, command->json, "Write how each rank ended");
  sub->add_option("program", command->command, "The program and its arguments, after --")
      ->required()
      ->type_name("PROGRAM ARGS...");
  sub->positionals_at_end();
  sub->footer(kFooter);
  sub->callback([command] { run(*command); });
}

}  // namespace gradwire::cli
