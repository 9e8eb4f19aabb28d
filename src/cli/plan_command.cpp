#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command.hpp"
#include "cli/json_text.hpp"
#include "cli/option_checks.hpp"
#include "cli/plan_simulation.hpp"
#include "cli/table.hpp"
#include "gradwire/inspect.hpp"
#include "trainer/counted.hpp"

namespace gradwire::cli {
namespace {

constexpr const char* kFooter = R"(
The steps of a rank are in the order that it prefers; those on different chunks may overlap. A send's peer is
who gets the frame, a recv's who it comes from. Sent bytes are payloads, without the 64 bytes of header per frame;
of these, bytes inside go to ranks on the same host, of which there are several with --hosts only.

Examples:
  gradwire plan --algorithm ring --ranks 4
  gradwire plan --algorithm tree --ranks 8 --rank 3 --codec onebit --bytes 64M
  gradwire plan --algorithm two-shot --ranks 4 --collective reduce-scatter --summary
  gradwire plan --algorithm hierarchical:ring --hosts 8,8,8,4 --codec onebit --bytes 64M --summary
  gradwire plan --simulate --algorithm hierarchical --hosts 32x8 --codec onebit --bytes 64M)";

constexpr int kMostRanks = 4096;

struct PlanCommand : PlanRequest {
  std::string host_sizes;
  int rank = -1;
  bool summary = false;
  SimulationOptions simulation;
};

std::string count(int number, const char* what) {
  return trainer::counted(static_cast<std::uint64_t>(number), what);
}

std::string range(int begin, int end) {
  return end - begin == 1 ? std::to_string(begin) : fmt::format("{}-{}", begin, end - 1);
}

std::string steps_table(const inspect::Description& plan, int only) {
  std::vector<std::vector<std::string>> rows;
  for (std::size_t r = 0; r < plan.ranks.size(); ++r) {
    if (only >= 0 && static_cast<int>(r) != only) continue;
    int number = 0;
    for (const auto& step : plan.ranks[r].steps) {
      rows.push_back({std::to_string(r), std::to_string(number++), std::to_string(step.round), step.verb,
                      step.stage, range(step.chunk_begin, step.chunk_end),
                      step.peer < 0 ? "" : std::to_string(step.peer), std::to_string(step.slot),
                      std::to_string(step.layer)});
    }
  }
  return aligned({"rank", "step", "round", "verb", "stage", "chunks", "peer", "slot", "layer"},
                 {true, true, true, false, false, true, true, true, true}, rows);
}

std::string summary_table(const inspect::Description& plan) {
  std::vector<std::vector<std::string>> rows;
  std::uint64_t sent = 0;
  std::uint64_t inside = 0;
  std::size_t steps = 0;
  int sends = 0;
  for (std::size_t r = 0; r < plan.ranks.size(); ++r) {
    const auto& rank = plan.ranks[r];
    rows.push_back({std::to_string(r), std::to_string(rank.steps.size()), std::to_string(rank.sends),
                    std::to_string(rank.sent_bytes), std::to_string(rank.inside_bytes)});
    sent += rank.sent_bytes;
    inside += rank.inside_bytes;
    steps += rank.steps.size();
    sends += rank.sends;
  }
  rows.push_back(
      {"all", std::to_string(steps), std::to_string(sends), std::to_string(sent), std::to_string(inside)});
  return aligned({"rank", "steps", "sends", "sent bytes", "bytes inside"}, {true, true, true, true, true},
                 rows);
}

std::string to_json(const PlanCommand& command, const inspect::Description& plan) {
  nlohmann::ordered_json out;
  out["collective"] = command.collective;
  out["algorithm"] = plan.algorithm;
  out["codec"] = plan.codec;
  out["bytes"] = command.bytes;
  out["chunks"] = plan.chunk_count;
  out["layers"] = plan.layers;
  out["rounds"] = plan.rounds;
  if (!command.hosts.empty()) {
    std::vector<int> ranks_on(static_cast<std::size_t>(command.hosts.back()) + 1);
    for (const int host : command.hosts) ++ranks_on[static_cast<std::size_t>(host)];
    out["hosts"] = ranks_on;
  }
  out["ranks"] = nlohmann::ordered_json::array();
  for (const auto& rank : plan.ranks) {
    auto steps = nlohmann::ordered_json::array();
    for (const auto& step : rank.steps) {
      steps.push_back({{"round", step.round},
                       {"verb", step.verb},
                       {"stage", step.stage},
                       {"chunk_begin", step.chunk_begin},
                       {"chunk_end", step.chunk_end},
                       {"peer", step.peer},
                       {"slot", step.slot},
                       {"layer", step.layer}});
    }
    out["ranks"].push_back({{"sent_bytes", rank.sent_bytes},
                            {"inside_bytes", rank.inside_bytes},
                            {"sends", rank.sends},
                            {"steps", std::move(steps)}});
  }
  return json_text(out);
}

/// The host of each rank, from how many ranks each has: "8,8,4" or "2x8,4".
std::vector<int> parse_hosts(const std::string& groups) {
  std::vector<int> hosts;
  int host = 0;
  for (const auto& group : split_list("--hosts", groups)) {
    const auto cross = group.find('x');
    const bool many = cross != std::string::npos;
    int times = 1;
    int ranks = 0;
    if ((many && !CLI::detail::lexical_cast(group.substr(0, cross), times)) ||
        !CLI::detail::lexical_cast(many ? group.substr(cross + 1) : group, ranks) || times < 1 || ranks < 1 ||
        times > kMostRanks || ranks > kMostRanks) {
      throw UsageError(
          fmt::format("--hosts {}: write how many ranks each host has, as 8,8,4 or 2x8,4", group));
    }
    for (int i = 0; i < times && hosts.size() <= kMostRanks; ++i, ++host) {
      hosts.insert(hosts.end(), static_cast<std::size_t>(ranks), host);
    }
  }
  return hosts;
}

void run(PlanCommand& command) {
  if (!command.host_sizes.empty()) {
    command.hosts = parse_hosts(command.host_sizes);
    const int placed = static_cast<int>(command.hosts.size());
    if (command.ranks != 0 && command.ranks != placed) {
      throw UsageError(fmt::format("--ranks {}, and --hosts has {}", command.ranks, placed));
    }
    command.ranks = placed;
  }
  if (command.ranks == 0) throw UsageError("how many ranks? give --ranks P, or --hosts N,N,...");
  if (command.ranks > kMostRanks) {
    throw UsageError(fmt::format("{} ranks; plan at most {}", command.ranks, kMostRanks));
  }
  if (command.rank >= command.ranks) {
    throw UsageError(fmt::format("--rank {} is too large for {}: the first one is 0", command.rank,
                                 count(command.ranks, "rank")));
  }
  if (command.bytes % sizeof(float) != 0) {
    throw UsageError(fmt::format("--bytes {} is not a whole number of float32 elements", command.bytes));
  }
  if (command.simulation.simulate) return run_simulation(command, command.simulation);
  inspect::Description plan;
  check_usage([&] {
    plan = inspect::describe(command.collective, command.algorithm, command.codec, command.ranks,
                             command.bytes / sizeof(float), command.hosts);
  });
  if (!command.json.empty()) write_text(command.json, to_json(command, plan));
  if (command.json == "-") return;
  std::string text =
      fmt::format("{} of {} ({}) by {} among {}: {}, {}, {}\n\n", command.collective,
                  readable_bytes(command.bytes), plan.codec, plan.algorithm, count(command.ranks, "rank"),
                  count(plan.chunk_count, "chunk"), count(plan.layers, "layer"), count(plan.rounds, "round"));
  if (!command.summary) text += steps_table(plan, command.rank) + "\n";
  text += summary_table(plan);
  write_text("-", text);
}

}  // namespace

void add_plan_command(CLI::App& app) {
  auto* const sub =
      app.add_subcommand("plan", "Print what each rank does in a collective, without running it");
  auto command = std::make_shared<PlanCommand>();
  sub->add_option("--ranks", command->ranks, "How many ranks")
      ->check(CLI::Range(1, kMostRanks))
      ->type_name("P");
  sub->add_option("--hosts", command->host_sizes,
                  "How many ranks each host has, 512x8 for 512 hosts of 8; else each rank has one of its own")
      ->transform(named())
      ->type_name("N,HxN,...");
  sub->add_option("--algorithm", command->algorithm, known_algorithms())
      ->type_name("NAME")
      ->capture_default_str();
  sub->add_option("--codec", command->codec, "What `gradwire info` lists")
      ->type_name("CODEC")
      ->capture_default_str();
  sub->add_option("--bytes", command->bytes, "Size of the float32 tensor: 4096, 4K, 64M")
      ->transform(CLI::AsSizeValue(false))
      ->transform(not_negative())
      ->type_name("SIZE")
      ->capture_default_str();
  sub->add_option("--collective", command->collective,
                  "allreduce, reduce-scatter, allgather, broadcast or barrier")
      ->type_name("NAME")
      ->capture_default_str();
  auto* const simulate = add_simulation_options(*sub, command->simulation);
  sub->add_option("--rank", command->rank, "Print the steps of this rank only")
      ->check(CLI::NonNegativeNumber)
      ->type_name("R")
      ->excludes(simulate);
  sub->add_flag("--summary", command->summary, "Print steps and bytes per rank only")->excludes(simulate);
  add_json_option(*sub, command->json, "Write it");
  sub->footer(kFooter);
  sub->callback([command] { run(*command); });
}

}  // namespace gradwire::cli
