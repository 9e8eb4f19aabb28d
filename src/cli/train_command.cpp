#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/command.hpp"
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
};

void run(TrainCommand& command) {
  auto& options = command.options;
  options.error_feedback = !command.no_error_feedback;
  // What can be wrong with the command line is said once, before there are ranks.
  check_network(command.ranks.transport, command.ranks.link_rate);
  check_usage([&] {
    trainer::validate(options);
    inspect::describe("allreduce", options.algorithm, options.codec, 2, 1);
  });
  require_folder("--checkpoint", options.checkpoint);
  const char* const home = std::getenv("GRADWIRE_DATA");
  const auto folder = trainer::find_dataset(command.data, command.data_folder, home != nullptr ? home : "");

  become_rank(command.ranks);
  const auto data = trainer::load_dataset(command.data, folder);
  const auto job = communicator_options(command.ranks);
  Communicator comm(job);
  // The report tells what was in force, wherever it came from.
  options.codec = comm.codec_in_use(options.codec);
  options.link_rate = job.link_rate;
  options.transport = transports_in_use(comm);
  trainer::TrainReport report;
  if (comm.rank() == 0) {
    trainer::ProgressBar bar;
    report = trainer::train(comm, options, data, [&bar](const auto& progress) { bar.show(progress); });
    bar.clear();
    if (command.json != "-") write_text("-", trainer::to_table(report));
    if (!command.json.empty()) write_text(command.json, trainer::to_json(report).dump(2) + "\n");
  } else {
    report = trainer::train(comm, options, data);
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
  app.add_option("--momentum", options.sgd.momentum, "Momentum, applied after averaging")
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
  add_communication_options(*sub, *command);
  add_checkpoint_options(*sub, command->options);
  sub->callback([command] { run(*command); });
}

}  // namespace gradwire::cli
