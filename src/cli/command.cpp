#include "cli/command.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>

#include "cli/launcher.hpp"
#include "gradwire/error.hpp"
#include "gradwire/inspect.hpp"

namespace gradwire::cli {

void add_rank_options(CLI::App& command, RankOptions& options) {
  command
      .add_option(
          "--ranks", options.ranks,
          "Start this many ranks on this host; without it, be the rank that the environment says, or alone")
      ->check(CLI::Range(1, kMaxLocalRanks))
      ->type_name("N")
      ->group("Job");
  command.add_option("--transport", options.transport, "auto, shm or tcp")->type_name("NAME")->group("Job");
  command
      .add_option("--link-rate", options.link_rate,
                  "Make every rank a host behind a link of this rate, as 100mbit or 1gbit")
      ->type_name("RATE")
      ->group("Job");
}

void check_transport(const std::string& name) {
  auto known = inspect::transports();
  known.emplace_back("auto");
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  std::string list;
  for (const auto& transport : known) list += (list.empty() ? "" : ", ") + transport;
  throw UsageError(fmt::format("there is no transport '{}'; there are {}", name, list));
}

void become_rank(const RankOptions& options) {
  const int around = Communicator::options_from_environment().world_size;
  if (options.ranks == 0 || options.ranks == around) return;
  if (around > 1) {
    throw UsageError(fmt::format("--ranks {} cannot be had: a launcher has started {} ranks already",
                                 options.ranks, around));
  }
  if (options.ranks > 1) {
    throw ExitStatus{launch_this_program(options.command_line, options.ranks).status};
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
