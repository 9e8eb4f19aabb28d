#include <fmt/format.h>

#include <cctype>
#include <string>

#include "cli/option_checks.hpp"
#include "cli/train_command.hpp"
#include "gradwire/inspect.hpp"
#include "trainer/dataset.hpp"
#include "trainer/option_use.hpp"

namespace gradwire::cli {
namespace {

void add_model_options(CLI::App& app, TrainCommand& command) {
  auto& options = command.options;
  app.add_option("--hidden", command.hidden, "Widths of the hidden layers")
      ->type_name("W,...")
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
  app.add_option("--device", options.device,
                 "What computes: cpu, cuda (ranks of a host take its devices in turn) or cuda:N")
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
  app.add_option("--delay", modes.delay, "1 applies gradients a step late, while the next ones are computed")
      ->transform(not_negative())
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--period", modes.period, "Steps from one exchange to the next")
      ->transform(positive())
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--alpha", modes.alpha, "How far model and centre move towards each other")
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--group-size", modes.group_size, "Ranks that average at every step")
      ->check(CLI::Range(1, kMaxLocalRanks))
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--consistency", modes.consistency, "bsp, ssp:STALENESS or asp")
      ->capture_default_str()
      ->group("Mode");
  app.add_option("--push-codec", modes.push_codec, "Towards the servers; else --codec")->group("Mode");
  app.add_option("--pull-codec", modes.pull_codec, "From the servers; else --codec")->group("Mode");
  add_server_options(app, command.servers, "Mode");
  app.add_option("--restarts", options.restarts,
                 "Start ranks that die again, so often in all; servers, too, with --snapshot-dir")
      ->check(CLI::Range(0, 1'000'000))
      ->type_name("N")
      ->group("Mode");
  app.add_flag("--rejoin", options.rejoin, "Take the place of a rank that died while the others run")
      ->group("Mode");
  app.add_option("--snapshot-dir", options.snapshot_dir,
                 "Folder for snapshots of --servers, from which they go on")
      ->transform(named())
      ->type_name("DIR")
      ->group("Mode");
  app.add_option("--snapshot-every", options.snapshot_every,
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

/// Puts the modes before what --help says of an option, as in "local, bmuf: steps from ...".
void name_modes(CLI::App& app) {
  for (const auto& use : trainer::option_uses()) {
    CLI::Option* const option = app.get_option(std::string(use.option));
    std::string text = option->get_description();
    const bool is_word = std::islower(static_cast<unsigned char>(text.at(1))) != 0;
    if (is_word) text.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(text.front())));
    option->description(trainer::names_of_modes(use) + ": " + text);
  }
}

}  // namespace

void add_train_options(CLI::App& app, TrainCommand& command) {
  add_rank_options(app, command.ranks);
  app.add_option("--data", command.data, "mnist or fashion-mnist")
      ->check(CLI::IsMember(trainer::dataset_names()))
      ->capture_default_str();
  app.add_option("--data-dir", command.data_folder,
                 "Folder of its four IDX files, plain or .gz; GRADWIRE_DATA may name it too")
      ->transform(named())
      ->type_name("DIR");
  add_json_option(app, command.json, "Write the results");
  add_model_options(app, command);
  add_length_options(app, command.options);
  add_mode_options(app, command);
  add_communication_options(app, command);
  add_checkpoint_options(app, command.options);
  name_modes(app);
}

}  // namespace gradwire::cli
