#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>

#include "gradwire/inspect.hpp"
#include "image_folder.hpp"
#include "tests/support/shell.hpp"

// `gradwire train` as a shell runs it, its ranks being processes.
namespace gradwire::trainer {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class TrainCommand : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path file(const std::string& name) const { return folder_.file(name); }

  Ended train(const std::string& arguments, const std::string& before = "") const {
    std::string line = before + " '" GRADWIRE_PROGRAM "' train " + arguments;
    if (arguments.find("--data") == std::string::npos) {
      line += " --data mnist --data-dir '" + folder_.path().string() + "'";
    }
    if (arguments.find("--hidden") == std::string::npos) line += " --hidden 40";
    if (arguments.find("--batch") == std::string::npos) line += " --batch 8";
    return shell(line + " 2>&1 </dev/null");
  }

  nlohmann::json report(const std::string& arguments, const std::string& before = "") const {
    const Ended ended = train(arguments + " --json '" + file("report.json").string() + "'", before);
    EXPECT_EQ(ended.status, 0) << ended.out;
    std::ifstream stream(file("report.json"));
    return nlohmann::json::parse(stream, nullptr, false);
  }

  /// With a server that runs already: `gradwire serve`, ready and ended by a signal when training is over.
  Ended train_at_server(const std::string& serve, const std::string& arguments,
                        const std::string& before = "") const {
    const std::string ready = fmt::format(
        "rm -f '{1}'; '" GRADWIRE_PROGRAM
        "' serve --lease 5 {0} > '{1}' & server=$!; "
        "trap 'kill $server; wait $server' EXIT; until grep -qs serving '{1}'; do sleep 0.02; done; "
        "address=$(sed -n 's/^serving at //p' '{1}'); ",
        serve, file("server").string());
    return train("--mode server --server-addresses $address " + arguments, ready + before);
  }
  [[nodiscard]] std::string text_of_server() const {
    std::ifstream said(file("server"));
    return {std::istreambuf_iterator<char>(said), {}};
  }

 private:
  ImageFolder folder_;
};

TEST_F(TrainCommand, trains_with_processes_and_writes_json) {
  std::set<std::string> fingerprints;
  for (const std::string& transport : inspect::transports()) {
    if (transport == "inproc" || transport == "mpi") continue;  // the latter: mpi_program_test
    const auto json = report("--ranks 3 --codec onebit --epochs 4 --transport " + transport);
    fingerprints.insert(json["final"]["weights_fingerprint"].get<std::string>());
    EXPECT_EQ(json["config"]["ranks"], 3);
    EXPECT_EQ(json["config"]["transport"], transport);
    ASSERT_EQ(json["epochs"].size(), 4U);
    EXPECT_GT(json["final"]["test_accuracy"], 0.9);
    EXPECT_EQ(json["final"]["steps"], 52);  // 300 samples in batches of 24: 13 an epoch
    EXPECT_EQ(json["final"]["replicas_identical"], true);
    EXPECT_GT(json["final"]["wire_bytes_per_step"], 0);
  }
  EXPECT_EQ(fingerprints.size(), 1U) << "what carries the gradients changed them";
}

TEST_F(TrainCommand, RefusesADeviceThatCannotBeUsed) {
  // Whether the build has no CUDA, the machine no driver, or not as many devices.
  const Ended missing = train("--ranks 2 --steps 2 --device cuda:4711");
  EXPECT_EQ(missing.status, 2);
  EXPECT_THAT(missing.out, testing::AnyOf(HasSubstr("use --device cpu"), HasSubstr("CUDA device")));
  EXPECT_EQ(missing.out.find("gradwire: "), missing.out.rfind("gradwire: "))
      << "it is said once: " << missing.out;
  const Ended misspelt = train("--steps 2 --device gpu");
  EXPECT_EQ(misspelt.status, 2);
  EXPECT_THAT(misspelt.out, HasSubstr("--device is 'gpu'; give cpu, cuda, or cuda:N"));
  EXPECT_EQ(report("--steps 2 --device cpu")["config"]["device"], "cpu");
}

/// All on the same one where there is no other.
TEST_F(TrainCommand, RanksThatShareDevicesTrainAsOnTheHost) {
  const Ended attempt = train("--steps 1 --device cuda");
  if (attempt.status == 2 && attempt.out.find("use --device cpu") != std::string::npos) {
    GTEST_SKIP() << attempt.out;
  }
  const std::string job = "--ranks 4 --codec onebit --epochs 4 --device ";
  const auto host = report(job + "cpu");
  const auto device = report(job + "cuda");
  EXPECT_EQ(device["config"]["device"], "cuda:0");
  EXPECT_EQ(device["final"]["replicas_identical"], true);
  EXPECT_EQ(device["final"]["wire_bytes_per_step"], host["final"]["wire_bytes_per_step"]);
  EXPECT_NEAR(device["final"]["test_accuracy"].get<double>(), host["final"]["test_accuracy"].get<double>(),
              0.02);
}

TEST_F(TrainCommand, is_one_rank_where_a_launcher_is_around) {
  const auto alone = report("--ranks 2 --steps 5");
  const auto launched = report("--steps 5", "'" GRADWIRE_PROGRAM "' run -n 2 --");
  EXPECT_EQ(launched["config"]["ranks"], 2);
  EXPECT_EQ(launched["final"]["weights_fingerprint"], alone["final"]["weights_fingerprint"]);
}

TEST_F(TrainCommand, reports_the_options_in_force) {
  const std::string model = file("model").string();
  const auto launched =
      report("--steps 2 --codec onebit --overlap --checkpoint '" + model + "' --checkpoint-every 7",
             "GRADWIRE_CODEC=none '" GRADWIRE_PROGRAM "' run -n 2 --link-rate 100mbit --")["config"];
  EXPECT_EQ(launched["codec"], "none");
  EXPECT_EQ(launched["link_rate"], "100mbit");
  EXPECT_EQ(launched["transport"], "tcp");
  EXPECT_EQ(launched["bucket_bytes"], 1 << 20);
  EXPECT_EQ(launched["checkpoint"], model);
  EXPECT_EQ(launched["checkpoint_every"], 7);
  EXPECT_EQ(launched["resume"], "");
  const auto resumed = report("--ranks 2 --steps 3 --bucket-bytes 8K --resume '" + model + "'")["config"];
  EXPECT_EQ(resumed["resume"], model);
  EXPECT_EQ(resumed["bucket_bytes"], 8192);
  EXPECT_EQ(resumed["transport"], "shm");
}

TEST_F(TrainCommand, resumes_bit_for_bit_and_refuses_damaged_checkpoints) {
  const std::string model = file("model").string();
  const std::string options = "--ranks 3 --codec onebit ";
  const auto uninterrupted = report(options + "--steps 30");
  report(options + "--steps 17 --checkpoint '" + model + "'");
  const auto resumed = report(options + "--steps 30 --resume '" + model + "'");
  EXPECT_EQ(resumed["final"]["weights_fingerprint"], uninterrupted["final"]["weights_fingerprint"]);

  std::filesystem::resize_file(model + ".1", 1000);
  const Ended ended = train(options + "--steps 30 --resume '" + model + "'");
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.out, HasSubstr("model.1: its 1000 bytes"));
}

TEST_F(TrainCommand, starts_servers_and_ends_them) {
  const auto json = report("--ranks 3 --mode server --servers 2 --codec onebit --epochs 4");
  EXPECT_EQ(json["config"]["mode"], "server");
  EXPECT_GT(json["final"]["test_accuracy"], 0.9);
  EXPECT_EQ(json["final"]["replicas_identical"], true);
  // Also where there is one rank, which a launcher's absence would otherwise make this very process.
  EXPECT_GT(report("--mode server --servers 1 --steps 40")["final"]["test_accuracy"], 0.8);
}

TEST_F(TrainCommand, uses_servers_that_run_already) {
  // Their job is told to ranks that are started here, which would be given one of their own.
  for (const auto& [serve, arguments, before] :
       {std::array<std::string, 3>{"--job j", "", "GRADWIRE_JOB=j"},
        {"--job j", "--ranks 2", "GRADWIRE_JOB=j"},
        {"--job j", "--ranks 2 --job j", ""},
        {"", "--ranks 2", ""},
        {"--job j", "--job j", "'" GRADWIRE_PROGRAM "' run -n 2 --"}}) {
    const Ended ended = train_at_server(serve, "--steps 20 " + arguments, before);
    EXPECT_EQ(ended.status, 0) << ended.out;
    const bool is_alone = arguments.empty();
    EXPECT_THAT(text_of_server(), AllOf(HasSubstr("serving at 127.0.0.1:"),
                                        HasSubstr(is_alone ? "80 pushes (0 repeated, 0 refused)"
                                                           : "160 pushes (0 repeated, 0 refused)")));
  }
}

TEST_F(TrainCommand, ranks_that_servers_refuse_are_told_why_and_not_started_again) {
  const Ended ended = train_at_server("--job j", "--ranks 2 --steps 20 --job k --restarts 5");
  EXPECT_EQ(ended.status, 2) << ended.out;
  EXPECT_THAT(ended.out,
              AllOf(HasSubstr("belongs to the job 'j', this rank to 'k'; give the option job the name of the "
                              "servers' job"),
                    HasSubstr("ended with status 2;"), Not(HasSubstr("starts again"))));
}

TEST_F(TrainCommand, a_slow_link_makes_plain_steps_slow) {
  const auto json = report("--ranks 2 --steps 10 --hidden 1000 --link-rate 100mbit");
  const double bytes = json["final"]["wire_bytes_per_step"];
  EXPECT_GT(json["final"]["seconds"], 0.9 * 10 * bytes / 12.5e6);
}

TEST_F(TrainCommand, says_what_is_wrong_once_and_fails) {
  struct Case {
    const char* arguments;
    const char* reason;
    int status;
  };
  for (const Case& c :
       {Case{"--ranks 2 --codec gzip", "no codec named 'gzip'", 2},
        Case{"--ranks 2 --algorithm star", "star", 2},
        Case{"--ranks 2 --data cifar", "mnist", 2},
        Case{"--ranks 2 --data mnist --data-dir /nonexistent", "--data-dir", 1},
        Case{"--ranks 2 --lr -1", "--lr is -1", 2},
        Case{"--ranks 2 --batch 0", "--batch is 0", 2},
        Case{"--ranks 2 --hidden 0", "--hidden is 0", 2},
        Case{"--ranks 2 --json /nonexistent/file", "/nonexistent/file", 1},
        Case{"--ranks 0", "--ranks", 2},
        Case{"--ranks 2 --restarts 1", "--mode allreduce has no --restarts", 2},
        Case{"--mode groups --server-addresses 127.0.0.1:1 --rejoin", "--mode groups has no --rejoin", 2},
        Case{"--mode server --servers 1 --snapshot-every 10", "--snapshot-every needs the --snapshot-dir", 2},
        Case{"--mode server --servers 1 --rejoin", "--rejoin needs the --server-addresses", 2},
        Case{"--ranks 2 --mode server --server-addresses 127.0.0.1:1 --rejoin", "--rejoin is for one rank",
             2},
        Case{"--mode server --server-addresses 127.0.0.1:1 --snapshot-dir x",
             "--snapshot-dir is for the servers", 2},
        Case{"--ranks 2 --straggler 9:3", "slows rank 9, and the job has 2 ranks", 2},
        Case{"--ranks 2 --mode groups --servers 1 --group-size 3", "the job has 2 ranks", 2},
        Case{"--mode groups --servers 1", "--group-size is 2, and the job has 1 rank;", 2},
        Case{"--ranks 2 --mode server --server-addresses localhost:99999", "has '99999' for the port", 2},
        Case{"--ranks 2 --mode server --server-addresses localhost", "'localhost' names no port", 2},
        Case{"--ranks 2 --mode server --server-addresses a:1,b:2,a:1", "names a:1 twice", 2},
        Case{"--mode server --server-addresses a:1 --servers 1", "give one of the two", 2},
        Case{"--mode server --servers 1 --job j", "--job names the job of the servers", 2},
        Case{"--mode server --server-addresses a:1 --restarts 1", "--restarts is for what is started here",
             2},
        Case{"--hidden 10,,3", "--hidden '10,,3' has a gap", 2},
        Case{"--steps many", "--steps", 2},
        Case{"--steps 3 --epochs 2", "--epochs", 2}}) {
    const Ended ended = train(c.arguments);
    EXPECT_EQ(ended.status, c.status) << c.arguments;
    EXPECT_THAT(ended.out, AllOf(HasSubstr(c.reason), Not(HasSubstr("rank 1")))) << c.arguments;
  }
}

/// The rows of docs/modes.md's table of options: each with its modes, as they stand there.
std::map<std::string, std::string> documented_options() {
  std::map<std::string, std::string> out;
  std::ifstream page(GRADWIRE_TEST_DIR "/../../docs/modes.md");
  std::string line;
  while (std::getline(page, line) && line != "| option | modes |") continue;
  std::getline(page, line);
  while (std::getline(page, line) && line.starts_with("| `")) {
    const auto end = line.find("` | ");
    out[line.substr(3, end - 3)] = line.substr(end + 4, line.size() - end - 6);
  }
  return out;
}

/// Whether such a row lists the mode.
bool lists(const std::string& modes, const std::string& mode) {
  std::set<std::string> all;
  std::istringstream in(modes);
  for (std::string each; std::getline(in >> std::ws, each, ',');) all.insert(each);
  if (mode == "allreduce --delay 1") return all.contains("allreduce");
  return all.contains(mode) || all.contains(fmt::format("{} without --delay", mode));
}

TEST_F(TrainCommand, options_that_the_mode_has_no_use_for_are_refused) {
  const std::map<std::string, std::string> values{{"--weight-decay", "0"},    {"--delay", "0"},
                                                  {"--alpha", "0.1"},         {"--consistency", "bsp"},
                                                  {"--push-codec", "none"},   {"--pull-codec", "none"},
                                                  {"--algorithm", "auto"},    {"--server-addresses", "a:1"},
                                                  {"--overlap", ""},          {"--rejoin", ""},
                                                  {"--no-error-feedback", ""}};
  const auto documented = documented_options();
  ASSERT_GT(documented.size(), 20U);
  const std::string help = train("--help").out;
  for (const auto& [option, modes] : documented) {
    EXPECT_THAT(help, testing::ContainsRegex(fmt::format("\n  {} [^\n]*\n? +{}: ", option, modes))) << option;
    const std::string value = values.contains(option) ? values.at(option) : "1";
    for (const std::string mode :
         {"allreduce", "allreduce --delay 1", "server", "local", "bmuf", "elastic", "groups"}) {
      if (option == "--delay" && mode == "allreduce --delay 1") continue;
      const Ended ended = train(fmt::format("--mode {} {} {} --data-dir /nonexistent", mode, option, value));
      const auto refusal =
          HasSubstr(fmt::format("--mode {} has no {}; leave it out, or use --mode ", mode, option));
      if (lists(modes, mode)) {
        EXPECT_THAT(ended.out, Not(refusal));
      } else {
        EXPECT_THAT(ended.out, refusal);
        EXPECT_EQ(ended.status, 2) << ended.out;
      }
    }
  }
}

TEST_F(TrainCommand, a_loss_that_is_not_finite_ends_every_rank) {
  for (const std::string codec : {"none", "onebit"}) {
    const Ended ended = train("--ranks 2 --epochs 2 --lr 1e30 --codec " + codec);
    EXPECT_EQ(ended.status, 1);
    EXPECT_THAT(ended.out, AllOf(HasSubstr("rank 0: non_finite"), HasSubstr("rank 1: non_finite")));
  }
}

TEST_F(TrainCommand, damaged_data_is_named) {
  std::filesystem::resize_file(file("t10k-images-idx3-ubyte.gz"), 100);
  const Ended ended = train("--ranks 2");
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.out, AllOf(HasSubstr("t10k-images-idx3-ubyte.gz"), HasSubstr("truncated")));
}

}  // namespace
}  // namespace gradwire::trainer
