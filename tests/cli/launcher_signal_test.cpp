#include "cli/launcher.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <string>

#include "launcher_process.hpp"

namespace gradwire::cli {
namespace {

using testing::UnorderedElementsAre;

TEST(Launcher, KillsWhoIgnoresSigterm) {
  LaunchOptions options =
      shell(2, "test $GRADWIRE_RANK = 1 && sleep 0.3 && exit 3; trap '' TERM; while :; do sleep 1; done");
  options.grace = 300ms;
  const auto start = std::chrono::steady_clock::now();
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 3);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

TEST(Launcher, ForwardsSignals) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) {
    const Traces traces;
    Launcher launcher(shell(2, "trap 'echo caught; exit 9' INT TERM HUP QUIT USR1 USR2; echo $$ > " +
                                   traces.folder() + "/$GRADWIRE_RANK; while :; do sleep 0.05; done"));
    ASSERT_TRUE(traces.wait_for(2));
    kill(launcher.pid(), number);
    EXPECT_EQ(launcher.status(), 9);
    EXPECT_THAT(launcher.lines(), UnorderedElementsAre("[0] caught", "[1] caught")) << strsignal(number);
  }
}

TEST(Launcher, ASecondInterruptionKills) {
  const Traces started;
  const Traces caught;
  LaunchOptions options =
      shell(2, "trap 'echo $$ > " + caught.folder() + "/$GRADWIRE_RANK' INT TERM; echo $$ > " +
                   started.folder() + "/$GRADWIRE_RANK; while :; do sleep 0.05; done");
  options.grace = 1h;
  Launcher launcher(options);
  ASSERT_TRUE(started.wait_for(2));
  kill(launcher.pid(), SIGINT);
  ASSERT_TRUE(caught.wait_for(2));
  for (const pid_t pid : caught.pids()) EXPECT_FALSE(process_state(pid) == ' ');
  kill(launcher.pid(), SIGTERM);
  EXPECT_EQ(launcher.status(), 128 + SIGKILL);
  for (const pid_t pid : started.pids()) EXPECT_TRUE(gone(pid));
}

TEST(Launcher, StopsAndGoesOnTogetherWithItsRanks) {
  const Traces started;
  const Traces go;
  Launcher launcher(shell(2, "echo $$ > " + started.folder() + "/$GRADWIRE_RANK; while ! test -e " +
                                 go.folder() + "/on; do sleep 0.05; done; echo done"));
  ASSERT_TRUE(started.wait_for(2));
  kill(launcher.pid(), SIGTSTP);
  EXPECT_TRUE(launcher.stopped());
  for (const pid_t pid : started.pids()) EXPECT_TRUE(reaches(pid, "T"));
  std::ofstream(go.folder() + "/on") << "\n";
  kill(launcher.pid(), SIGCONT);
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_THAT(launcher.lines(), UnorderedElementsAre("[0] done", "[1] done"));
}

TEST(Launcher, IgnoresTheSignalsThatItWasToldToIgnore) {
  // As under nohup, and in a shell script's background.
  const Traces traces;
  LaunchOptions options = shell(2, "echo $$ > " + traces.folder() + "/$GRADWIRE_RANK; sleep 1; echo done");
  options.grace = 100ms;
  Launcher launcher(options, [] {
    for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTSTP}) std::signal(number, SIG_IGN);
  });
  ASSERT_TRUE(traces.wait_for(2));
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTSTP}) kill(launcher.pid(), number);
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_THAT(launcher.lines(), UnorderedElementsAre("[0] done", "[1] done"));
}

TEST(Launcher, SeesTheEndOfRanksWhereChildrenWereIgnored) {
  Launcher launcher(shell(2, "exit $((GRADWIRE_RANK * 7))"), [] { std::signal(SIGCHLD, SIG_IGN); });
  EXPECT_EQ(launcher.status(), 7);
}

TEST(Launcher, AnInterruptedJobReturnsTheSignal) {
  const Traces traces;
  Launcher launcher(shell(2, "echo $$ > " + traces.folder() + "/$GRADWIRE_RANK; exec sleep 60"));
  ASSERT_TRUE(traces.wait_for(2));
  kill(launcher.pid(), SIGTERM);
  EXPECT_EQ(launcher.status(), 128 + SIGTERM);
  for (const pid_t pid : traces.pids()) EXPECT_TRUE(gone(pid));
}

TEST(Launcher, RanksDieWithTheLauncher) {
  const Traces traces;
  Launcher launcher(shell(2, "echo $$ > " + traces.folder() + "/$GRADWIRE_RANK; exec sleep 60"));
  ASSERT_TRUE(traces.wait_for(2));
  kill(launcher.pid(), SIGKILL);
  EXPECT_EQ(launcher.status(), 128 + SIGKILL);
  for (const pid_t pid : traces.pids()) EXPECT_TRUE(gone(pid));
}

TEST(Launcher, LeavesNothingBehindThatARankHasStarted) {
  const Traces traces;
  const auto start = std::chrono::steady_clock::now();
  Launcher launcher(shell(1, "sleep 60 & echo $! > " + traces.folder() + "/child; exit 0"));
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  for (const pid_t pid : traces.pids()) EXPECT_TRUE(gone(pid));
}

}  // namespace
}  // namespace gradwire::cli
