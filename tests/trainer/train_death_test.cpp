#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/parameter_server.hpp"
#include "image_folder.hpp"
#include "tests/server/server_process.hpp"
#include "train_process.hpp"

// Processes of `gradwire train` that are killed or stopped, while it goes on.
namespace gradwire::trainer {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

/// No epoch ends before training does, unless the test wants so: ranks meet at its end.
constexpr std::uint32_t kManyImages = 10'000;
constexpr std::uint64_t kSteps = 200;

class TrainDeath : public testing::Test {
 protected:
  void SetUp() override { ::setenv("GRADWIRE_JOB", "deaths", 1); }
  void TearDown() override { ::unsetenv("GRADWIRE_JOB"); }

  [[nodiscard]] ParameterServerOptions server_options(std::chrono::milliseconds lease) const {
    ParameterServerOptions options;
    options.job = "deaths";
    options.lease = lease;
    return options;
  }

  std::unique_ptr<TrainProcess> train(const ImageFolder& images, int ranks, const std::string& addresses,
                                      const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{
        "--data",    "mnist", "--data-dir", images.path(),          "--hidden",   "40",
        "--batch",   "8",     "--steps",    std::to_string(kSteps), "--min-step", "4",
        "--threads", "1",     "--ranks",    std::to_string(ranks)};
    if (std::ranges::find(more, "--json") == more.end()) {
      arguments.insert(arguments.end(), {"--json", file("report.json")});
    }
    if (!addresses.empty()) arguments.insert(arguments.end(), {"--server-addresses", addresses});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<TrainProcess>(arguments, file("said"));
  }

  [[nodiscard]] nlohmann::json result() const {
    const auto report = nlohmann::json::parse(text_of(file("report.json")), nullptr, false);
    EXPECT_FALSE(report.is_discarded());
    return report.is_discarded() ? nlohmann::json::object() : report.at("final");
  }
  [[nodiscard]] std::filesystem::path file(const std::string& name) const { return folder_.path() / name; }

 private:
  TemporaryFolder folder_;
};

bool reaches(const ParameterServer& server, std::uint64_t clock) {
  return await([&] { return server.report().clock >= clock; });
}

/// Whether a file comes or goes in a folder.
bool changes(const std::filesystem::path& folder) {
  const auto files = [&] {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      names.insert(entry.path().filename());
    return names;
  };
  const auto before = files();
  return await([&] { return files() != before; });
}

struct ModeCase {
  const char* name;
  std::vector<std::string> options;
  std::uint64_t clock;  ///< when the rank is killed
};

class EveryMode : public TrainDeath, public testing::WithParamInterface<ModeCase> {};
INSTANTIATE_TEST_SUITE_P(
    Modes, EveryMode,
    testing::Values(ModeCase{"bsp", {"--mode", "server", "--codec", "onebit"}, 40},
                    ModeCase{"asp", {"--mode", "server", "--consistency", "asp"}, 40},
                    ModeCase{"elastic", {"--mode", "elastic", "--period", "5", "--alpha", "0.2"}, 8}),
    [](const auto& test) { return test.param.name; });

TEST_P(EveryMode, TheOthersFinishWithoutARankThatWasKilled) {
  const ImageFolder images;  // ranks meet every 13 steps
  const ParameterServer server(server_options(1s));
  const auto job = train(images, 3, server.address(), GetParam().options);
  ASSERT_TRUE(reaches(server, GetParam().clock));
  ::kill(job->process_of(2), SIGKILL);
  EXPECT_EQ(job->status(), 128 + SIGKILL);
  EXPECT_THAT(job->said(), HasSubstr("rank 2 was killed by signal 9 (Killed); the others go on"));
  EXPECT_THAT(job->said(), HasSubstr("rank 0: goes on without the other ranks"));
  EXPECT_THAT(job->said(), HasSubstr("rank 1: goes on without the other ranks"));
  EXPECT_GT(result()["test_accuracy"], 0.9);
  EXPECT_EQ(result()["steps"], kSteps);
  EXPECT_EQ(result()["alone"], true);
  EXPECT_TRUE(result()["replicas_identical"].is_null());
}

TEST_P(EveryMode, ARankThatIsStartedAgainGoesOnWithTheOthers) {
  const ImageFolder images;
  // Nobody waits for the end of this lease.
  const ParameterServer server(server_options(600s));
  auto options = GetParam().options;
  options.insert(options.end(), {"--restarts", "1"});
  const auto job = train(images, 3, server.address(), options);
  ASSERT_TRUE(reaches(server, GetParam().clock));
  ::kill(job->process_of(2), SIGKILL);
  EXPECT_EQ(job->status(), 0);
  EXPECT_THAT(job->said(),
              HasSubstr("rank 2 was killed by signal 9 (Killed); it starts again (1 of 1 restarts)"));
  EXPECT_THAT(job->said(), HasSubstr("rank 2: joined the servers at step "));
  EXPECT_THAT(job->said(), Not(HasSubstr("rank 2: joined the servers at step 0 ")));
  EXPECT_GT(result()["test_accuracy"], 0.9);
}

TEST_P(EveryMode, RankZeroReportsAfterItWasStartedAgain) {
  const ImageFolder images;
  const ParameterServer server(server_options(600s));
  auto options = GetParam().options;
  options.insert(options.end(), {"--restarts", "1"});
  const auto job = train(images, 2, server.address(), options);
  ASSERT_TRUE(reaches(server, GetParam().clock));
  ::kill(job->process_of(0), SIGKILL);
  EXPECT_EQ(job->status(), 0) << job->said();
  EXPECT_GT(result()["test_accuracy"], 0.9);
  EXPECT_LE(result()["steps"], kSteps - 40);
  EXPECT_EQ(result()["alone"], true);
}

TEST_P(EveryMode, ThatNobodyReportsWithoutRankZeroIsSaid) {
  const ImageFolder images;
  const ParameterServer server(server_options(1s));
  const auto job = train(images, 2, server.address(), GetParam().options);
  ASSERT_TRUE(reaches(server, GetParam().clock));
  ::kill(job->process_of(0), SIGKILL);
  EXPECT_EQ(job->status(), 128 + SIGKILL) << job->said();
  EXPECT_THAT(job->said(),
              HasSubstr("gradwire: there is no report, since rank 0, which writes it, was killed by signal 9 "
                        "(Killed); with --restarts 1 it is started again, and reports\n"));
  EXPECT_FALSE(std::filesystem::exists(file("report.json")));
}

TEST_P(EveryMode, ARankThatWasStoppedForLongerThanItsLeaseJoinsAgain) {
  const ImageFolder images(kManyImages);
  const ParameterServer server(server_options(1s));
  const auto job = train(images, 2, server.address(), GetParam().options);
  ASSERT_TRUE(reaches(server, GetParam().clock));
  const pid_t rank = job->process_of(1);
  ::kill(rank, SIGSTOP);
  // Far behind where it can have been: its lease is over.
  EXPECT_TRUE(reaches(server, GetParam().clock * 7 / 2));
  ::kill(rank, SIGCONT);
  EXPECT_EQ(job->status(), 0) << job->said();
  EXPECT_THAT(job->said(),
              HasSubstr("rank 1: was not heard of for too long, and joined the servers again at step "));
  EXPECT_THAT(job->said(), HasSubstr("rank 0: goes on without the other ranks"));
  EXPECT_GT(result()["test_accuracy"], 0.9);
}

TEST_P(EveryMode, RanksThatAreStartedAgainNeedServersThatBeganWithTheJob) {
  const ImageFolder images;
  const ParameterServer server(server_options(60s));
  EXPECT_EQ(train(images, 2, server.address(), GetParam().options)->status(), 0);
  auto options = GetParam().options;
  EXPECT_EQ(train(images, 2, server.address(), options)->status(), 0) << "goes on from there";
  options.insert(options.end(), {"--restarts", "1"});
  const auto job = train(images, 2, server.address(), options);
  EXPECT_EQ(job->status(), 2);
  EXPECT_THAT(job->said(), HasSubstr("the servers are at clock "));
}

TEST_F(TrainDeath, ARankThatRejoinsWithOtherOptionsIsRefused) {
  const ImageFolder images(kManyImages);
  const ParameterServer server(server_options(600s));
  const auto job = train(images, 2, server.address(), {"--mode", "server", "--consistency", "asp"});
  ASSERT_TRUE(reaches(server, 20));
  ::kill(job->process_of(1), SIGKILL);
  const auto rejoin = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"--data",
                                       "mnist",
                                       "--data-dir",
                                       images.path(),
                                       "--hidden",
                                       "40",
                                       "--min-step",
                                       "4",
                                       "--threads",
                                       "1",
                                       "--mode",
                                       "server",
                                       "--consistency",
                                       "asp",
                                       "--server-addresses",
                                       server.address()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    ::setenv("GRADWIRE_RANK", "1", 1);
    ::setenv("GRADWIRE_WORLD_SIZE", "2", 1);
    TrainProcess rank(arguments, file("rejoined"));
    ::unsetenv("GRADWIRE_RANK");
    ::unsetenv("GRADWIRE_WORLD_SIZE");
    const int status = rank.status();
    return std::pair(status, rank.said());
  };
  const std::string steps = std::to_string(kSteps);
  const auto longer = rejoin({"--batch", "8", "--steps", "300", "--rejoin"});
  EXPECT_EQ(longer.first, 2);
  EXPECT_THAT(longer.second, HasSubstr("it has '--epochs or --steps: 300 steps', and those that take part "
                                       "have '--epochs or --steps: 200 steps'"));
  const auto larger = rejoin({"--batch", "16", "--steps", steps, "--rejoin"});
  EXPECT_EQ(larger.first, 2);
  EXPECT_THAT(larger.second, HasSubstr("it has '--batch: 16', and those that take part have '--batch: 8'"));
  ::setenv("GRADWIRE_TIMEOUT", "2", 1);
  const auto lonely = rejoin({"--batch", "8", "--steps", steps});
  ::unsetenv("GRADWIRE_TIMEOUT");
  EXPECT_NE(lonely.first, 0);
  EXPECT_THAT(lonely.second,
              HasSubstr("or, where the other ranks run already, let this one take the place of "
                        "one that died with --rejoin\n"));
  EXPECT_EQ(rejoin({"--batch", "8", "--steps", steps, "--rejoin"}).first, 0);
  EXPECT_EQ(job->status(), 128 + SIGKILL) << job->said();
}

TEST_F(TrainDeath, AReportThatCannotBeWrittenIsNoDeath) {
  const ImageFolder images;
  for (const std::vector<std::string>& restarts : {std::vector<std::string>{}, {"--restarts", "3"}}) {
    std::vector<std::string> options{"--mode", "server", "--servers", "1", "--json", "/dev/full"};
    options.insert(options.end(), restarts.begin(), restarts.end());
    const auto job = train(images, 2, "", options);
    EXPECT_EQ(job->status(), 2);
    EXPECT_THAT(job->said(), HasSubstr("rank 0: system: cannot write '/dev/full'"));
    EXPECT_THAT(job->said(), HasSubstr("see above what it said"));
    EXPECT_THAT(job->said(), Not(HasSubstr("starts again")));
    EXPECT_THAT(job->said(), Not(HasSubstr("--restarts")));
  }
}

TEST_F(TrainDeath, ServersMayBeKilledWheneverTheyComeBack) {
  const ImageFolder images;
  const auto snapshots = file("snapshots");
  auto options = server_options(60s);
  options.servers = 2;
  options.snapshot_dir = snapshots;
  options.snapshot_every = 10;
  ServerProcess first(options);
  options.index = 1;
  ServerProcess second(options);
  const auto job =
      train(images, 3, first.address() + "," + second.address(), {"--mode", "server", "--codec", "onebit"});
  for (int kills = 0; kills < 6; ++kills) {
    ServerProcess& server = kills % 2 == 0 ? first : second;
    // Training goes on while snapshots are written.
    ASSERT_TRUE(changes(snapshots)) << job->said();
    server.kill();
    server.start();
  }
  EXPECT_EQ(job->status(), 0) << job->said();
  EXPECT_GT(result()["test_accuracy"], 0.9);
  EXPECT_TRUE(result()["updates_lost"].is_number_unsigned());
  // Four parameters in each step of each rank, whatever became of them.
  EXPECT_EQ(result()["updates_applied"].get<std::uint64_t>() + result()["updates_lost"].get<std::uint64_t>(),
            3 * kSteps * 4);
}

TEST_F(TrainDeath, AServerOfTheJobIsStartedAgainWithItsSnapshot) {
  const ImageFolder images;
  std::filesystem::create_directory(file("snapshots"));
  const auto job = train(images, 2, "",
                         {"--mode", "server", "--servers", "1", "--restarts", "2", "--snapshot-dir",
                          file("snapshots"), "--snapshot-every", "5"});
  // More often than in every hundredth of its steps.
  for (int snapshots = 0; snapshots < 6; ++snapshots) ASSERT_TRUE(changes(file("snapshots"))) << job->said();
  ::kill(job->process_of(-1), SIGKILL);
  EXPECT_EQ(job->status(), 0) << job->said();
  EXPECT_THAT(job->said(),
              HasSubstr("server 0 was killed by signal 9 (Killed); it starts again (1 of 2 restarts)"));
  EXPECT_GT(result()["test_accuracy"], 0.9);
}

TEST_F(TrainDeath, ARankSaysWhomItWaitsFor) {
  const ImageFolder images;
  ::setenv("GRADWIRE_TIMEOUT", "3", 1);
  const auto job = train(images, 1, "127.0.0.1:1", {"--mode", "server"});
  ::unsetenv("GRADWIRE_TIMEOUT");
  EXPECT_EQ(job->status(), 1);
  EXPECT_THAT(job->said(), HasSubstr("gradwire: worker 0 has been waiting for server 0 (127.0.0.1:1) for "));
}

}  // namespace
}  // namespace gradwire::trainer
