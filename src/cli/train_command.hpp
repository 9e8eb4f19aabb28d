#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "cli/command.hpp"
#include "cli/server_options.hpp"
#include "trainer/train_options.hpp"

namespace gradwire::cli {

/// The command line of `gradwire train`.
struct TrainCommand {
  RankOptions ranks;
  trainer::TrainOptions options;
  std::string hidden = "512,512";
  std::string data = "fashion-mnist";
  std::string data_folder;
  std::string json;
  bool no_error_feedback = false;
  std::string mode = "allreduce";
  ServerOptions servers;
};

/// Adds all options; --help says of each which modes use it, where not all of them do.
void add_train_options(CLI::App& app, TrainCommand& command);

/// Makes options of what was given as text, and refuses what does not go together. Throws UsageError.
void read_train_command(const CLI::App& app, TrainCommand& command);
/// What can be wrong with the values of a command that was read, and whose servers are known. Throws
/// UsageError, Error.
void check_train_command(const TrainCommand& command);

}  // namespace gradwire::cli
