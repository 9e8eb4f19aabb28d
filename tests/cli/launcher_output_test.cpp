#include "cli/launcher.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <string>
#include <thread>

#include "launcher_process.hpp"

namespace gradwire::cli {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;

TEST(Launcher, DoesNotMixLines) {
  // Pieces of lines, on both outputs, from all ranks at once.
  Launcher launcher(shell(4,
                          "for i in 1 2 3 4 5 6 7 8 9 10; do printf a$GRADWIRE_RANK; printf b$GRADWIRE_RANK; "
                          "printf e$GRADWIRE_RANK >&2; echo c$GRADWIRE_RANK; echo >&2; done; printf end"));
  EXPECT_EQ(launcher.status(), 0);
  std::map<std::string, int> counts;
  for (const auto& line : launcher.lines()) ++counts[line];
  for (const int rank : {0, 1, 2, 3}) {
    EXPECT_EQ(counts[fmt::format("[{0}] a{0}b{0}c{0}", rank)], 10);
    EXPECT_EQ(counts[fmt::format("[{}] end", rank)], 1);
  }
  EXPECT_EQ(counts.size(), 8U);
  EXPECT_THAT(launcher.err(), HasSubstr("[2] e2\n"));
}

TEST(Launcher, CopiesALotOfOutput) {
  Launcher launcher(shell(2, "seq 1 50000"));
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_EQ(launcher.lines().size(), 100'000U);
}

TEST(Launcher, KeepsOutputForWhoTakesItLate) {
  Launcher launcher(shell(2, "seq 1 250000; echo end of $GRADWIRE_RANK"), Launcher::make_pipe());
  std::this_thread::sleep_for(2s);
  launcher.read_output();
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_EQ(launcher.lines().size(), 500'002U);
  EXPECT_THAT(launcher.lines(), AllOf(Contains("[0] end of 0"), Contains("[1] end of 1")));
}

TEST(Launcher, CanBeStoppedWhenNobodyTakesItsOutput) {
  for (const bool socket : {false, true}) {
    const Traces traces;
    Launcher launcher(shell(2, "echo $$ > " + traces.folder() + "/$GRADWIRE_RANK; exec yes"),
                      socket ? Launcher::make_socket() : Launcher::make_pipe());
    ASSERT_TRUE(traces.wait_for(2));
    std::this_thread::sleep_for(300ms);
    kill(launcher.pid(), SIGTERM);
    EXPECT_EQ(launcher.status(), 128 + SIGTERM);
    for (const pid_t pid : traces.pids()) EXPECT_TRUE(gone(pid));
  }
}

TEST(Launcher, SeesDeadRanksWhenNobodyTakesItsOutput) {
  const Traces traces;
  Launcher launcher(shell(2, "echo $$ > " + traces.folder() +
                                 "/$GRADWIRE_RANK; test $GRADWIRE_RANK = 0 && exec yes; sleep 0.5; exit 3"),
                    Launcher::make_pipe());
  ASSERT_TRUE(traces.wait_for(2));
  for (const pid_t pid : traces.pids()) EXPECT_TRUE(gone(pid));
  launcher.read_output();
  EXPECT_EQ(launcher.status(), 3);
}

TEST(Launcher, AnInterruptionEndsTheWaitForWhoTakesTheOutput) {
  const Traces traces;
  Launcher launcher(
      shell(1, "echo $$ > " + traces.folder() + "/$GRADWIRE_RANK; head -c 150000 /dev/zero | tr '\\0' '\\n'"),
      Launcher::make_pipe());
  ASSERT_TRUE(traces.wait_for(1));
  for (const pid_t pid : traces.pids()) EXPECT_TRUE(gone(pid));
  kill(launcher.pid(), SIGINT);
  EXPECT_EQ(launcher.status(), 128 + SIGINT);
}

TEST(Launcher, ARankThatPrintsWhenTheReaderHasGoneEndsTheJob) {
  for (const bool socket : {false, true}) {
    const Traces started;
    const Traces words;
    Launcher launcher(shell(2, "test $GRADWIRE_RANK = 1 && trap 'echo > " + words.folder() +
                                   "/last; exit 0' TERM; sleep 60 & echo $! > " + started.folder() +
                                   "/$GRADWIRE_RANK; test $GRADWIRE_RANK = 0 && exec yes; while :; do sleep "
                                   "0.05; done"),
                      socket ? Launcher::make_socket() : Launcher::make_pipe(),
                      [] { std::signal(SIGPIPE, SIG_DFL); });
    ASSERT_TRUE(started.wait_for(2));
    launcher.stop_reading();
    EXPECT_EQ(launcher.status(), 128 + SIGPIPE);
    EXPECT_THAT(launcher.err(), HasSubstr("rank 0 was killed by signal 13"));
    EXPECT_EQ(words.count(), 1);
    for (const pid_t pid : started.pids()) EXPECT_TRUE(gone(pid)) << "something that a rank had started";
  }
}

TEST(Launcher, ARankThatIgnoresSigpipeOutlivesTheReader) {
  const Traces started;
  const Traces go;
  Launcher launcher(
      shell(2, "trap '' PIPE; echo > " + started.folder() + "/$GRADWIRE_RANK; while ! test -e " +
                   go.folder() + "/on; do sleep 0.05; done; while echo more; do :; done 2>/dev/null; exit 0"),
      Launcher::make_pipe());
  ASSERT_TRUE(started.wait_for(2));
  launcher.stop_reading();
  std::ofstream(go.folder() + "/on") << "\n";
  EXPECT_EQ(launcher.status(), 0);
}

TEST(Launcher, LetsTheOthersSayTheirLastWords) {
  LaunchOptions options =
      shell(2, "test $GRADWIRE_RANK = 1 && exit 3; sleep 0.3; echo my peer is gone; exec sleep 60");
  options.last_words = 1000ms;
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 3);
  EXPECT_EQ(launcher.out(), "[0] my peer is gone\n");
}

}  // namespace
}  // namespace gradwire::cli
