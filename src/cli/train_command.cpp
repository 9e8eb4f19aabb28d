#include <fmt/ranges.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.hpp"
#include "cli/local_servers.hpp"
#include "cli/option_checks.hpp"
#include "cli/transports_in_use.hpp"
#include "gradwire/error.hpp"
#include "gradwire/inspect.hpp"
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
  gradwire run -n 4 -- gradwire train --codec onebit:scale=l2 --warm-start 100)";

struct TrainCommand {
  RankOptions ranks;
  trainer::TrainOptions options;
  std::string data = "fashion-mnist";
  std::string data_folder;
  std::string json;
  bool no_error_feedback = false;
  std::string mode = "allreduce";
  int servers = 0;
  std::string snapshot_dir;
  std::uint64_t snapshot_every = 0;  ///< clocks; 0: as `gradwire serve` does
  int restarts = 0;
};

/// What is wrong with the options that concern ranks which die and come back. Throws UsageError.
void check_survival(const TrainCommand& command) {
  const auto& options = command.options;
  if (command.restarts > 0 && !trainer::outlives_ranks(options.mode)) {
    throw UsageError(
        fmt::format("--mode {} has no --restarts: it needs all ranks, always; use --mode server or elastic",
                    command.mode));
  }
  if (!command.snapshot_dir.empty() && command.servers == 0) {
    throw UsageError("--snapshot-dir is for the servers that --servers starts");
  }
  if (command.snapshot_every > 0 && command.snapshot_dir.empty()) {
    throw UsageError("--snapshot-every needs the --snapshot-dir where snapshots go");
  }
  if (!options.rejoin) return;
  if (options.modes.server_addresses.empty()) {
    throw UsageError("--rejoin needs the --server-addresses of the servers that run");
  }
  if (command.ranks.ranks > 1 && Communicator::options_from_environment().world_size == 1) {
    throw UsageError(
        "--rejoin is for one rank: say which with GRADWIRE_RANK and GRADWIRE_WORLD_SIZE instead of --ranks");
  }
}

/// Starts what is to be started here: see become_rank().
void start(const TrainCommand& command, const std::optional<LocalServers>& servers) {
  Survival survival;
  survival.ranks = trainer::outlives_ranks(command.options.mode);
  survival.servers = !command.snapshot_dir.empty();
  survival.restarts = command.restarts;
  survival.rejoin = {"--rejoin"};
  RankOptions ranks = command.ranks;
  if (!servers) return become_rank(ranks, {}, survival);
  ranks.command_line.insert(ranks.command_line.end(),
                            {"--server-addresses", fmt::format("{}", fmt::join(servers->addresses(), ","))});
  std::vector<std::string> server_options;
  if (!ranks.link_rate.empty()) server_options = {"--link-rate", ranks.link_rate};
  if (survival.servers) server_options.insert(server_options.end(), {"--snapshot-dir", command.snapshot_dir});
  if (command.snapshot_every > 0) {
    server_options.insert(server_options.end(),
                          {"--snapshot-every", fmt::format("{}", command.snapshot_every)});
  }
  become_rank(ranks, servers->commands(server_options), survival);
}

/// To all ranks. One that takes the place of another is alone: none but the servers is told of it.
Communicator connect(CommunicatorOptions job, bool rejoins) {
  if (rejoins) {
    job.rank = 0;
    job.world_size = 1;
  }
  return Communicator(job);
}

void run(TrainCommand& command) {
  auto& options = command.options;
  options.error_feedback = !command.no_error_feedback;
  options.mode = trainer::parse_mode(command.mode);
  check_survival(command);
  // Reserved for servers until they have been started.
  std::optional<LocalServers> servers;
  if (command.servers > 0 && options.modes.server_addresses.empty()) {
    servers.emplace(command.servers);
    options.modes.server_addresses = servers->addresses();
  }
  // What can be wrong with the command line is said once, before there are ranks.
  check_network(command.ranks.transport, command.ranks.link_rate);
  check_usage([&] {
    trainer::validate(options);
    inspect::describe("allreduce", options.algorithm, options.codec, 2, 1);
    for (const auto& codec : {options.modes.push_codec, options.modes.pull_codec}) {
      if (!codec.empty()) inspect::describe("allreduce", options.algorithm, codec, 2, 1);
    }
  });
  require_folder("--checkpoint", options.checkpoint);
  const char* const home = std::getenv("GRADWIRE_DATA");
  const auto folder = trainer::find_dataset(command.data, command.data_folder, home != nullptr ? home : "");

  start(command, servers);
  const auto data = trainer::load_dataset(command.data, folder);
  const auto job = communicator_options(command.ranks);
  const Communicator comm = connect(job, options.rejoin);
  trainer::RankGroup ranks =
      options.rejoin ? trainer::RankGroup(job.rank, job.world_size) : trainer::RankGroup(comm);
  // The report tells what was in force, wherever it came from.
  options.codec = comm.codec_in_use(options.codec);
  options.link_rate = job.link_rate;
  options.job = job.job;
  options.timeout = job.timeout;
  options.transport = transports_in_use(comm);
  trainer::TrainReport report;
  if (job.rank == 0) {
    trainer::ProgressBar bar;
    report = trainer::train(
        std::move(ranks), options, data, [&bar](const auto& progress) { bar.show(progress); },
        [&bar](const auto& notice) {
          bar.clear();
          say(notice);
        });
    bar.clear();
    if (command.json != "-") write_text("-", trainer::to_table(report));
    if (!command.json.empty()) write_text(command.json, trainer::to_json(report).dump(2) + "\n");
  } else {
    report = trainer::train(std::move(ranks), options, data, {}, say);
  }
  if (!report.replicas_identical) {
    throw Error(ErrorCode::corrupt_frame, "the ranks ended with different weights",
                "please report this as a bug, with the command line");
  }
}

void add_model_options(CLI::App& app, trainer::TrainOptions& options) {
  app.add_option("--hidden", options.hidden, "Widths of the hidden layers")
      ->delimiter(',')
      ->capture_default_str()
      ->group("Model");
  app.add_option("--batch", options.batch, "Samples per rank and step")
      ->transform(not_negative())
      ->capture_default_str()
      ->group("Model");
  app.add_option("--lr", options.sgd.learning_rate, "Learning rate")->capture_default_str()->group("Model");
  app.add_option("--momentum", options.sgd.momentum,
                 "Momentum; after averaging in the modes that average gradients")
      ->capture_default_str()
      ->group("Model");
  app.add_option("--weight-decay", options.sgd.weight_decay, "Weight decay")
      ->capture_default_str()
      ->group("Model");
  app.add_option("--seed", options.seed, "Seed of the first weights and of the shuffle")
      ->transform(not_negative())
      ->capture_default_str()
      ->group("Model");
  app.add_option("--threads", options.threads,
                 "Threads of a rank's matrix products; 0: this machine's cores shared")
      ->capture_default_str()
      ->group("Model");
}

void add_length_options(CLI::App& app, trainer::TrainOptions& options) {
  auto* const epochs = app.add_option("--epochs", options.epochs, "Passes over the data")
                           ->transform(positive())
                           ->capture_default_str()
                           ->group("Length");
  app.add_option("--steps", options.steps, "Stop after so many steps instead")
      ->transform(positive())
      ->excludes(epochs)
      ->group("Length");
  app.add_option("--eval-every", options.eval_every,
                 "Steps between looks at the test set, besides those at the end of each epoch")
      ->transform(not_negative())
      ->group("Length");
}

void add_mode_options(CLI::App& app, TrainCommand& command) {
  auto& options = command.options;
  auto& modes = options.modes;
  app.add_option("--mode", command.mode, "How gradients reach the weights")
      ->check(CLI::IsMember(trainer::mode_names()))
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--delay", modes.delay,
                 "allreduce: 1 applies gradients a step late, while the next ones are computed")
      ->transform(not_negative())
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--period", modes.period, "local, bmuf, elastic: steps from one exchange to the next")
      ->transform(positive())
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--alpha", modes.alpha, "elastic: how far model and centre move towards each other")
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--group-size", modes.group_size, "groups: ranks that average at every step")
      ->check(CLI::Range(1, kMaxLocalRanks))
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--consistency", modes.consistency, "server: bsp, ssp:STALENESS or asp")
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--push-codec", modes.push_codec,
                 "server, elastic, groups: towards the servers; else --codec")
      ->group("Mode");
  app.add_option("--pull-codec", modes.pull_codec, "server, elastic, groups: from the servers; else --codec")
      ->group("Mode");
  app.add_option("--servers", command.servers,
                 "Servers to start here, unless --server-addresses says where they are")
      ->check(CLI::Range(1, kMaxLocalRanks))
      ->type_name("N")
      ->group("Mode");
  app.add_option("--server-addresses", modes.server_addresses, "HOST:PORT of each server, in their order")
      ->delimiter(',')
      ->type_name("ADDRESS,...")
      ->group("Mode");
  app.add_option(
         "--restarts", command.restarts,
         "server, elastic: start ranks that die again, so often in all; servers, too, with --snapshot-dir")
      ->check(CLI::Range(0, 1'000'000))
      ->type_name("N")
      ->group("Mode");
  app.add_flag("--rejoin", options.rejoin,
               "server, elastic: take the place of a rank that died while the others run")
      ->group("Mode");
  app.add_option("--snapshot-dir", command.snapshot_dir,
                 "Folder for snapshots of --servers, from which they go on")
      ->transform(named())
      ->type_name("DIR")
      ->group("Mode");
  app.add_option("--snapshot-every", command.snapshot_every,
                 "Clocks from one of them to the next: what a server that is killed can lose")
      ->transform(positive())
      ->type_name("CLOCKS")
      ->group("Mode");
  app.add_option("--straggler", options.straggler,
                 "RANK:FACTOR slows a rank, random:FACTOR:PROBABILITY random steps of random ranks")
      ->type_name("WHO")
      ->group("Mode");
  app.add_option("--min-step", options.min_step_ms, "Milliseconds that computing a step takes at least")
      ->type_name("MS")
      ->group("Mode");
}

void add_communication_options(CLI::App& app, TrainCommand& command) {
  auto& options = command.options;
  app.add_option("--codec", options.codec, "How gradients are encoded: " + inspect::describe_codecs())
      ->capture_default_str()
      ->group("Communication");
  app.add_option("--algorithm", options.algorithm, "How they are reduced: " + known_algorithms())
      ->capture_default_str()
      ->group("Communication");
  app.add_option("--warm-start", options.warm_start, "Leave the first steps uncompressed")
      ->transform(not_negative())
      ->group("Communication");
  app.add_flag("--overlap", options.overlap, "Communicate while the backward pass computes")
      ->group("Communication");
  app.add_option("--bucket-bytes", options.bucket_bytes, "Gradients that leave together, in bytes or as 1M")
      ->transform(CLI::AsSizeValue(false))
      ->transform(not_negative())
      ->group("Communication");
  app.add_flag("--no-error-feedback", command.no_error_feedback,
               "Drop what encoding loses: to see what feedback is good for")
      ->group("Communication");
}

void add_checkpoint_options(CLI::App& app, trainer::TrainOptions& options) {
  app.add_option("--checkpoint", options.checkpoint, "Write FILE.RANK at the end of each epoch")
      ->transform(named())
      ->type_name("FILE")
      ->group("Checkpoints");
  app.add_option("--checkpoint-every", options.checkpoint_every, "And after each so many steps")
      ->transform(not_negative())
      ->group("Checkpoints");
  app.add_option("--resume", options.resume, "Go on from FILE.RANK as if there had been no interruption")
      ->transform(named())
      ->type_name("FILE")
      ->group("Checkpoints");
}

}  // namespace

void add_train_command(CLI::App& app, const std::vector<std::string>& command_line) {
  auto* const sub =
      app.add_subcommand("train", "Train a network on several ranks and report speed and accuracy");
  sub->footer(kExamples);
  auto command = std::make_shared<TrainCommand>();
  command->ranks.command_line = command_line;
  add_rank_options(*sub, command->ranks);
  sub->add_option("--data", command->data, "mnist or fashion-mnist")
      ->check(CLI::IsMember(trainer::dataset_names()))
      ->capture_default_str();
  sub->add_option("--data-dir", command->data_folder,
                  "Folder of its four IDX files, plain or .gz; GRADWIRE_DATA may name it too")
      ->transform(named())
      ->type_name("DIR");
  add_json_option(*sub, command->json, "Write the results");
  add_model_options(*sub, command->options);
  add_length_options(*sub, command->options);
  add_mode_options(*sub, *command);
  add_communication_options(*sub, *command);
  add_checkpoint_options(*sub, command->options);
  sub->callback([command] { run(*command); });
}

}  // namespace gradwire::cli
