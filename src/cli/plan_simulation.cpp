#include "cli/plan_simulation.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/command.hpp"
#include "cli/option_checks.hpp"
#include "cli/simgrid_platform.hpp"
#include "cli/table.hpp"
#include "trainer/counted.hpp"

namespace gradwire::cli {
namespace {

constexpr double kMicrosecond = 1e-6;
constexpr double kLongestMicroseconds = 1e9;
constexpr int kMostCores = 1 << 20;

/// Leaves out what SimGrid would add, being measured on another cluster's TCP, and what it would remember of
/// frames that nobody waits for.
constexpr const char* kSimgridOptions =
    "--cfg=network/model:CM02 --cfg=network/crosstraffic:0 --cfg=network/TCP-gamma:0 "
    "--cfg=smpi/send-is-detached-thresh:131072";

std::string count(std::uint64_t number, const char* what) { return trainer::counted(number, what); }

std::string readable_seconds(double seconds) {
  if (seconds >= 1) return fmt::format("{:.3f} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.3f} ms", seconds * 1e3);
  return fmt::format("{:.3f} us", seconds * 1e6);
}

CLI::Option* add_rate(CLI::App& command, const std::string& name, double& rate, const std::string& what,
                      const std::string& usual) {
  return command
      .add_option_function<std::string>(
          name,
          [&rate](const std::string& text) { check_usage([&] { rate = inspect::parse_link_rate(text); }); },
          what)
      ->type_name("RATE")
      ->default_str(usual);
}

CLI::Option* add_time(CLI::App& command, const std::string& name, double& seconds, const std::string& what) {
  return command
      .add_option_function<double>(
          name, [&seconds](const double& number) { seconds = number * kMicrosecond; }, what)
      ->check(within(0, kLongestMicroseconds))
      ->type_name("US")
      ->default_str(fmt::format("{:g}", seconds / kMicrosecond));
}

std::string to_json(const PlanRequest& request, const inspect::Cluster& cluster,
                    const inspect::Simulation& simulation) {
  nlohmann::ordered_json out;
  out["collective"] = request.collective;
  out["algorithm"] = simulation.algorithm;
  out["codec"] = simulation.codec;
  out["bytes"] = request.bytes;
  out["ranks"] = request.ranks;
  out["host_count"] = simulation.hosts;
  out["seconds"] = simulation.seconds;
  out["bound_seconds"] = simulation.bound_seconds;
  out["between_bytes"] = simulation.between_bytes;
  out["busiest_link_bytes"] = simulation.busiest_link_bytes;
  out["inside_bytes"] = simulation.inside_bytes;
  out["frames"] = simulation.frames;
  out["every_rank"] = simulation.every_rank;
  out["cluster"] = {{"link_rate", cluster.link_rate},
                    {"latency", cluster.latency},
                    {"inside_rate", cluster.inside_rate},
                    {"inside_latency", cluster.inside_latency},
                    {"frame_time", cluster.frame_time},
                    {"plain_rate", cluster.plain_rate},
                    {"encode_rate", cluster.encode_rate},
                    {"decode_rate", cluster.decode_rate},
                    {"cores", cluster.cores}};
  return out.dump(2) + "\n";
}

std::string to_text(const PlanRequest& request, const inspect::Cluster& cluster,
                    const inspect::Simulation& simulation) {
  std::vector<std::vector<std::string>> rows{
      {"time", readable_seconds(simulation.seconds)},
      {"bound",
       fmt::format("{}, for the payload over the links alone", readable_seconds(simulation.bound_seconds))},
      {"between hosts", fmt::format("{} B, {} of them from the busiest host", simulation.between_bytes,
                                    simulation.busiest_link_bytes)},
      {"inside hosts", fmt::format("{} B", simulation.inside_bytes)},
      {"frames", fmt::format("{}", simulation.frames)},
      {"priced", simulation.every_rank ? "every rank" : "one host, since all do the same"}};
  if (cluster.cores > 0) rows.push_back({"cores", fmt::format("{}, which all ranks share", cluster.cores)});
  return fmt::format("{} of {} ({}) by {} among {} on {}\n\n{}", request.collective,
                     readable_bytes(request.bytes), simulation.codec, simulation.algorithm,
                     count(static_cast<std::uint64_t>(request.ranks), "rank"),
                     count(static_cast<std::uint64_t>(simulation.hosts), "host"),
                     aligned({"what", "simulated"}, {false, false}, rows));
}

std::size_t host_of(const PlanRequest& request, int rank) {
  return static_cast<std::size_t>(request.hosts.empty() ? rank
                                                        : request.hosts[static_cast<std::size_t>(rank)]);
}

/// Throws Error, UsageError where the plan does not fit on it.
SimgridPlatform read_platform(const PlanRequest& request, const std::string& file) {
  SimgridPlatform platform = read_simgrid_platform(file);
  const std::size_t hosts = host_of(request, request.ranks - 1) + 1;
  if (platform.hosts.size() < hosts) {
    throw UsageError(fmt::format("the platform '{}' has {}, and {} are needed", file,
                                 count(platform.hosts.size(), "host"), hosts));
  }
  return platform;
}

/// A trace for each rank, the list of them, and each rank's host. Returns the command that replays them.
std::string write_traces(const PlanRequest& request, const SimulationOptions& options,
                         const SimgridPlatform& platform) {
  std::error_code error;
  std::filesystem::create_directories(options.traces, error);
  const auto folder = std::filesystem::absolute(options.traces, error);
  if (!std::filesystem::is_directory(folder, error)) {
    throw Error(ErrorCode::system,
                fmt::format("there is no folder '{}', and none could be made", options.traces),
                "name another with --traces");
  }
  std::string traces;
  std::string places;
  check_usage([&] {
    inspect::replay_traces(request.collective, request.algorithm, request.codec, request.ranks,
                           request.bytes / sizeof(float), options.cluster, request.hosts, platform.flops,
                           [&](int rank, const std::string& trace) {
                             const std::string file = folder / fmt::format("rank-{}.txt", rank);
                             write_text(file, trace);
                             traces += file + "\n";
                             places += platform.hosts[host_of(request, rank)] + "\n";
                           });
  });
  write_text(folder / "traces.txt", traces);
  write_text(folder / "hosts.txt", places);
  return fmt::format("smpirun -np {} -platform {} -hostfile {} -replay {} {}", request.ranks,
                     options.platform, (folder / "hosts.txt").string(), (folder / "traces.txt").string(),
                     kSimgridOptions);
}

}  // namespace

CLI::Option* add_simulation_options(CLI::App& command, SimulationOptions& options) {
  auto& cluster = options.cluster;
  auto* const simulate =
      command.add_flag("--simulate", options.simulate, "Tell how long it takes on a cluster");
  std::vector<CLI::Option*> added{
      add_rate(command, "--link-rate", cluster.link_rate, "Of a host's link each way, for frames", "119.6MB"),
      add_time(command, "--latency", cluster.latency, "From one host to another"),
      add_rate(command, "--inside-rate", cluster.inside_rate, "Of a rank's frames inside its host", "3GB"),
      add_time(command, "--inside-latency", cluster.inside_latency, "From one rank of a host to another"),
      add_time(command, "--frame-time", cluster.frame_time,
               "That a rank spends on each frame, at either end"),
      add_rate(command, "--plain-rate", cluster.plain_rate, "At which a rank adds or copies float32", "8GB"),
      add_rate(command, "--encode-rate", cluster.encode_rate, "At which a rank encodes float32", "12GB"),
      add_rate(command, "--decode-rate", cluster.decode_rate, "At which a rank decodes and adds, in float32",
               "24GB")};
  auto* const platform =
      command.add_option("--simgrid", options.platform, "Write traces for SimGrid on this platform")
          ->transform(named())
          ->type_name("PLATFORM.xml");
  auto* const traces = command.add_option("--traces", options.traces, "Folder for SimGrid's traces")
                           ->transform(named())
                           ->type_name("DIR");
  platform->needs(traces);
  traces->needs(platform);
  auto* const cores =
      command
          .add_option("--cores", cluster.cores,
                      "That all ranks share, as where one machine plays all hosts (each has its own)")
          ->check(within(1, kMostCores))
          ->type_name("COUNT")
          ->excludes(platform);
  added.insert(added.end(), {platform, traces, cores});
  for (auto* const option : added) option->needs(simulate)->group("Simulation");
  simulate->group("Simulation");
  return simulate;
}

void run_simulation(const PlanRequest& request, const SimulationOptions& options) {
  std::optional<SimgridPlatform> platform;
  if (!options.platform.empty()) platform = read_platform(request, options.platform);
  const auto simulation = check_usage([&] {
    return inspect::simulate(request.collective, request.algorithm, request.codec, request.ranks,
                             request.bytes / sizeof(float), options.cluster, request.hosts);
  });
  std::string replay;
  if (platform) replay = write_traces(request, options, *platform);
  if (!request.json.empty()) write_text(request.json, to_json(request, options.cluster, simulation));
  if (request.json == "-") return;
  std::string text = to_text(request, options.cluster, simulation);
  if (!replay.empty()) text += fmt::format("\nreplay with: {}\n", replay);
  write_text("-", text);
}

}  // namespace gradwire::cli
