#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <system_error>
#include <vector>

#include "cli/option_checks.hpp"
#include "cli/train_command.hpp"
#include "gradwire/communicator.hpp"
#include "gradwire/inspect.hpp"
#include "trainer/device_choice.hpp"
#include "trainer/option_use.hpp"

namespace gradwire::cli {
namespace {

/// "--period" for each option of the command line.
std::vector<std::string> given_options(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() > 0) out.push_back(option->get_name());
  }
  return out;
}

std::vector<int> parse_widths(const std::string& text) {
  std::vector<int> widths;
  for (const std::string& piece : split_list("--hidden", text)) {
    const char* const end = piece.data() + piece.size();
    const auto [stop, error] = std::from_chars(piece.data(), end, widths.emplace_back());
    if (error == std::errc() && stop == end) continue;
    throw UsageError(fmt::format("--hidden is '{}'; give widths, --hidden 512,512 say", text));
  }
  return widths;
}

/// That of the ranks that are to be started here, or that a launcher has started.
int world_size(const RankOptions& ranks) {
  return ranks.ranks != 0 ? ranks.ranks : Communicator::options_from_environment().world_size;
}

/// What is wrong with the options that concern ranks which die and come back.
void check_survival(const TrainCommand& command) {
  if (command.options.restarts > 0 && command.ranks.ranks <= 1 && command.servers.servers == 0) {
    throw UsageError("--restarts is for what is started here; give --ranks N, of 2 or more, or --servers N");
  }
  if (!command.options.snapshot_dir.empty() && command.servers.servers == 0) {
    throw UsageError("--snapshot-dir is for the servers that --servers starts; give both, or neither");
  }
  if (command.options.snapshot_every > 0 && command.options.snapshot_dir.empty()) {
    throw UsageError("--snapshot-every needs the --snapshot-dir where snapshots go");
  }
  if (!command.options.rejoin) return;
  if (command.options.modes.server_addresses.empty()) {
    throw UsageError("--rejoin needs the --server-addresses of the servers that run");
  }
  if (command.ranks.ranks > 1 && Communicator::options_from_environment().world_size == 1) {
    throw UsageError(
        "--rejoin is for one rank: say which with GRADWIRE_RANK and GRADWIRE_WORLD_SIZE instead of --ranks");
  }
}

}  // namespace

void read_train_command(const CLI::App& app, TrainCommand& command) {
  auto& options = command.options;
  options.error_feedback = !command.no_error_feedback;
  options.mode = trainer::parse_mode(command.mode);
  check_usage([&] { trainer::require_use(options.mode, options.modes.delay != 0, given_options(app)); });
  options.hidden = parse_widths(command.hidden);
  options.modes.server_addresses = server_addresses(app, command.servers);
  check_survival(command);
}

void check_train_command(const TrainCommand& command) {
  const auto& options = command.options;
  check_network(command.ranks.transport, command.ranks.link_rate);
  const int ranks = world_size(command.ranks);
  check_usage([&] {
    trainer::validate(options, ranks);
    trainer::require_device(trainer::parse_device(options.device));
    for (const auto& codec : {options.codec, options.modes.push_codec, options.modes.pull_codec}) {
      if (!codec.empty()) inspect::describe("allreduce", options.algorithm, codec, 2, 1);
    }
  });
  require_folder("--checkpoint", options.checkpoint);
}

}  // namespace gradwire::cli
