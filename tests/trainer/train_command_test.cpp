#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

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

 private:
  ImageFolder folder_;
};

TEST_F(TrainCommand, trains_with_processes_and_writes_json) {
  for (const std::string transport : {"shm", "tcp"}) {
    const auto json = report("--ranks 3 --codec onebit --epochs 4 --transport " + transport);
    EXPECT_EQ(json["config"]["ranks"], 3);
    EXPECT_EQ(json["config"]["transport"], transport);
    ASSERT_EQ(json["epochs"].size(), 4U);
    EXPECT_GT(json["final"]["test_accuracy"], 0.9);
    EXPECT_EQ(json["final"]["steps"], 52);  // 300 samples in batches of 24: 13 an epoch
    EXPECT_EQ(json["final"]["replicas_identical"], true);
    EXPECT_GT(json["final"]["wire_bytes_per_step"], 0);
  }
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
  const std::string serve = "'" GRADWIRE_PROGRAM "' serve --job j --lease 5 ";
  const std::string out = file("server").string();
  // Ready once it has said where it serves; ended by the signal when training is over.
  const Ended ended = train("--steps 20 --mode server --server-addresses $address",
                            serve + "> '" + out + "' & server=$!; trap 'kill $server; wait $server' EXIT; " +
                                "until grep -q serving '" + out + "'; do sleep 0.02; done; " +
                                "address=$(sed 's/serving at //' '" + out + "'); GRADWIRE_JOB=j");
  EXPECT_EQ(ended.status, 0) << ended.out;
  std::ifstream said(out);
  const std::string all{std::istreambuf_iterator<char>(said), {}};
  EXPECT_THAT(all, AllOf(HasSubstr("serving at 127.0.0.1:"), HasSubstr("80 pushes (0 repeated, 0 refused)")));
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
        Case{"--ranks 2 --algorithm star", "star", 2}, Case{"--ranks 2 --data cifar", "mnist", 2},
        Case{"--ranks 2 --data mnist --data-dir /nonexistent", "--data-dir", 1},
        Case{"--ranks 2 --lr -1", "--lr is -1", 2}, Case{"--ranks 2 --batch 0", "--batch is 0", 2},
        Case{"--ranks 2 --hidden 0", "--hidden is 0", 2},
        Case{"--ranks 2 --json /nonexistent/file", "/nonexistent/file", 1}, Case{"--ranks 0", "--ranks", 2},
        Case{"--ranks 2 --restarts 1", "--mode allreduce has no --restarts", 2},
        Case{"--mode groups --server-addresses 127.0.0.1:1 --rejoin", "--mode groups has no --rejoin", 2},
        Case{"--mode server --servers 1 --snapshot-every 10", "--snapshot-every needs the --snapshot-dir", 2},
        Case{"--mode server --servers 1 --rejoin", "--rejoin needs the --server-addresses", 2},
        Case{"--ranks 2 --mode server --server-addresses 127.0.0.1:1 --rejoin", "--rejoin is for one rank",
             2},
        Case{"--mode server --server-addresses 127.0.0.1:1 --snapshot-dir x",
             "--snapshot-dir is for the servers", 2},
        Case{"--steps many", "--steps", 2}, Case{"--steps 3 --epochs 2", "--epochs", 2}}) {
    const Ended ended = train(c.arguments);
    EXPECT_EQ(ended.status, c.status) << c.arguments;
    EXPECT_THAT(ended.out, AllOf(HasSubstr(c.reason), Not(HasSubstr("rank 1")))) << c.arguments;
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
