#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/command.hpp"
#include "cli/job_beginning.hpp"
#include "cli/json_text.hpp"
#include "cli/local_servers.hpp"
#include "cli/train_command.hpp"
#include "cli/transports_in_use.hpp"
#include "gradwire/error.hpp"
#include "gradwire/parameter_server.hpp"
#include "trainer/dataset.hpp"
#include "trainer/progress_bar.hpp"
#include "trainer/train_options.hpp"
#include "trainer/train_report.hpp"
#include "trainer/training_run.hpp"

namespace gradwire::cli {

namespace {

constexpr const char* kExamples = R"(
Examples:
  gradwire train --ranks 4 --codec onebit --link-rate 100mbit
  gradwire train --ranks 2 --data mnist --data-dir ~/mnist --epochs 10 --checkpoint model --json result.json
  gradwire run -n 4 -- gradwire train --codec onebit:scale=l2 --warm-start 100
  mpirun -n 4 gradwire train --codec onebit)";

/// Starts what is to be started here: see become_rank().
void start(const TrainCommand& command, const std::optional<LocalServers>& servers) {
  Survival survival;
  survival.ranks = trainer::outlives_ranks(command.options.mode);
  survival.servers = !command.options.snapshot_dir.empty();
  survival.restarts = command.options.restarts;
  survival.rejoin = {"--rejoin"};
  RankOptions ranks = command.ranks;
  if (!servers) {
    if (!command.servers.addresses.empty()) pass_servers_job(command.servers, ranks.command_line);
    return become_rank(ranks, {}, survival);
  }
  pass_started_servers(servers->addresses(), ranks.command_line);
  std::vector<std::string> server_options;
  const std::string link_rate = communicator_options(ranks).link_rate;
  if (!link_rate.empty()) server_options = {"--link-rate", link_rate};
  if (survival.servers)
    server_options.insert(server_options.end(), {"--snapshot-dir", command.options.snapshot_dir});
  if (command.options.snapshot_every > 0) {
    server_options.insert(server_options.end(),
                          {"--snapshot-every", std::to_string(command.options.snapshot_every)});
  }
  become_rank(ranks, servers->commands(server_options), survival);
}

/// To all ranks. One that takes the place of another is alone: none but the servers is told of it.
Communicator connect(CommunicatorOptions job, const trainer::TrainOptions& options) {
  if (options.rejoin) {
    job.rank = 0;
    job.world_size = 1;
  }
  try {
    return Communicator(job);
  } catch (const Error& error) {
    const bool is_waiting = error.code() == ErrorCode::timeout || error.peer() == job.rank;
    if (options.rejoin || !is_waiting || !trainer::outlives_ranks(options.mode)) throw;
    const std::string_view said = std::string_view(error.what()).substr(to_string(error.code()).size() + 2);
    throw Error(error.code(), said,
                "or, where the other ranks run already, let this one take the place of one that died with "
                "--rejoin",
                error.peer());
  }
}

/// The launcher, which may restart ranks, restarts none that ends so.
[[noreturn]] void end_for_good(const Error& error) {
  say(error.what());
  throw ExitStatus{kUsage};
}

/// Whoever is started again has nothing to report but its own part, and nowhere to put it.
void write_report(const TrainCommand& command, const trainer::TrainReport& report) {
  try {
    if (command.json != "-") write_text("-", trainer::to_table(report));
    if (!command.json.empty()) write_text(command.json, json_text(trainer::to_json(report)));
  } catch (const Error& error) {
    if (!trainer::outlives_ranks(command.options.mode)) throw;
    end_for_good(error);
  }
}

void train_as_rank(TrainCommand& command, const trainer::Dataset& data) {
  auto& options = command.options;
  const auto job = communicator_options(command.ranks);
  const Communicator comm = connect(job, options);
  trainer::RankGroup ranks =
      options.rejoin ? trainer::RankGroup(job.rank, job.world_size) : trainer::RankGroup(comm);
  // The report tells what was in force, wherever it came from.
  if (trainer::uses_servers(options.mode)) {
    for (auto* codec : {&options.modes.push_codec, &options.modes.pull_codec}) {
      *codec = comm.codec_in_use(codec->empty() ? options.codec : *codec);
    }
  }
  options.codec = comm.codec_in_use(options.codec);
  // MPI connects the ranks; servers are none.
  options.modes.server_transport = job.transport == "mpi" ? "auto" : job.transport;
  options.link_rate = job.link_rate;
  options.check_payload = job.check_payload;
  options.job = command.servers.job.empty() ? job.job : command.servers.job;
  options.timeout = job.timeout;
  if (!options.snapshot_dir.empty() && options.snapshot_every == 0) {
    options.snapshot_every = ParameterServerOptions().snapshot_every;
  }
  options.transport = transports_in_use(comm);
  bool has_begun = false;
  // A rank finishes its first step after all have set out.
  const auto note_beginning = [&has_begun](const auto&) {
    if (!std::exchange(has_begun, true)) tell_that_job_has_begun();
  };
  trainer::TrainReport report;
  if (job.rank == 0) {
    trainer::ProgressBar bar;
    report = trainer::train(
        std::move(ranks), options, data,
        [&](const auto& progress) {
          note_beginning(progress);
          bar.show(progress);
        },
        [&bar](const auto& notice) {
          bar.clear();
          say(notice);
        });
    bar.clear();
    write_report(command, report);
  } else {
    report = trainer::train(std::move(ranks), options, data, note_beginning, say);
  }
  if (!report.replicas_identical.value_or(true)) {
    throw Error(ErrorCode::corrupt_frame, "the ranks ended with different weights",
                "please report this as a bug, with the command line");
  }
}

/// What a rank that is started again would meet again.
bool is_lasting(const Error& error) {
  return error.code() == ErrorCode::invalid_argument || error.code() == ErrorCode::version_mismatch;
}

void run(const CLI::App& app, TrainCommand& command) {
  auto& options = command.options;
  read_train_command(app, command);
  // Reserved for servers until they have been started.
  std::optional<LocalServers> servers;
  if (command.servers.servers > 0 && options.modes.server_addresses.empty()) {
    servers.emplace(command.servers.servers);
    options.modes.server_addresses = servers->addresses();
  }
  // What can be wrong with the command line is said once, before there are ranks.
  check_train_command(command);
  const char* const home = std::getenv("GRADWIRE_DATA");
  const auto folder = trainer::find_dataset(command.data, command.data_folder, home != nullptr ? home : "");

  start(command, servers);
  const auto data = trainer::load_dataset(command.data, folder);
  try {
    train_as_rank(command, data);
  } catch (const Error& error) {
    if (!trainer::outlives_ranks(options.mode) || !is_lasting(error)) throw;
    end_for_good(error);
  }
}

}  // namespace

void add_train_command(CLI::App& app, const std::vector<std::string>& command_line) {
  auto* const sub =
      app.add_subcommand("train", "Train a network on several ranks and report speed and accuracy");
  sub->footer(kExamples);
  auto command = std::make_shared<TrainCommand>();
  command->ranks.command_line = command_line;
  add_train_options(*sub, *command);
  sub->callback([sub, command] { run(*sub, *command); });
}

}  // namespace gradwire::cli
