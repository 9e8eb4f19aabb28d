#include "cli/launcher.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>

#include "launcher_process.hpp"

namespace gradwire::cli {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

TEST(Launcher, RunsEveryRankWithItsEnvironment) {
  Launcher launcher(shell(3, "echo $GRADWIRE_RANK of $GRADWIRE_WORLD_SIZE"));
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_THAT(launcher.lines(), UnorderedElementsAre("[0] 0 of 3", "[1] 1 of 3", "[2] 2 of 3"));
  EXPECT_EQ(launcher.err(), "");
}

TEST(Launcher, RanksShareAJobThatIsNobodyElses) {
  const auto places = [] {
    Launcher launcher(shell(2, "echo $GRADWIRE_JOB $GRADWIRE_STORE"));
    EXPECT_EQ(launcher.status(), 0);
    auto lines = launcher.lines();
    std::sort(lines.begin(), lines.end());
    EXPECT_EQ(lines.size(), 2U);
    EXPECT_EQ(lines.at(0).substr(4), lines.at(1).substr(4));
    EXPECT_THAT(lines.at(0), HasSubstr("unix://"));
    return lines.at(0);
  };
  EXPECT_NE(places(), places());
}

TEST(Launcher, KeepsTheNameOfAJobThatHasOne) {
  setenv("GRADWIRE_JOB", "mnist", 1);
  Launcher launcher(shell(1, "echo $GRADWIRE_JOB"));
  unsetenv("GRADWIRE_JOB");
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_EQ(launcher.out(), "[0] mnist\n");
}

/// Ranks that have set out, and may be lost from then on.
LaunchOptions begun(int ranks, const std::string& script) {
  LaunchOptions options =
      shell(ranks, R"(printf '\1\0\0\0\0\0\0\0' >&${GRADWIRE_JOB_BEGINNING#*:};)" + script);
  options.command.front() = "bash";  // sh knows descriptors of one digit
  options.survival.ranks = true;
  return options;
}

TEST(Launcher, ARankThatIsLostBeforeTheJobHasBegunEndsIt) {
  LaunchOptions options = shell(2, "test $GRADWIRE_RANK = 1 && exit 7; exec sleep 60");
  options.survival = {.ranks = true, .restarts = 5};
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 7);
  EXPECT_THAT(launcher.err(), HasSubstr("rank 1 ended with status 7; ending the others"));
}

TEST(Launcher, StartsARankThatFailedAgainAndLeavesTheOthersAlone) {
  const Traces traces;
  // Rank 1 fails at first, and rank 0 waits for its second life.
  LaunchOptions options =
      begun(2, fmt::format("cd {}; test $GRADWIRE_RANK = 1 && test $# = 0 && kill -KILL $$;"
                           "test $GRADWIRE_RANK = 1 && echo $1 $2 > again;"
                           "until test -e again; do sleep 0.01; done; echo done",
                           traces.folder()));
  options.command.emplace_back("sh");
  options.survival = {.ranks = true, .restarts = 1, .rejoin = {"--come", "back"}};
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_THAT(launcher.lines(), UnorderedElementsAre("[0] done", "[1] done"));
  EXPECT_THAT(launcher.err(),
              HasSubstr("rank 1 was killed by signal 9 (Killed); it starts again (1 of 1 restarts)"));
  std::ifstream again(traces.folder() + "/again");
  std::string arguments;
  std::getline(again, arguments);
  EXPECT_EQ(arguments, "--come back");
}

TEST(Launcher, TheOthersGoOnWithoutARankThatHasNoRestartsLeft) {
  const Traces traces;
  LaunchOptions options =
      begun(2, fmt::format("cd {}; touch lives; test $GRADWIRE_RANK = 1 && echo >> lives && exit 7;"
                           "until test $(wc -l < lives) = 2; do sleep 0.01; done; sleep 0.5; echo done",
                           traces.folder()));
  options.survival = {.ranks = true, .restarts = 1};
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 7);
  EXPECT_EQ(launcher.out(), "[0] done\n");
  EXPECT_THAT(launcher.err(), HasSubstr("rank 1 ended with status 7; it starts again (1 of 1 restarts)"));
  EXPECT_THAT(launcher.err(), HasSubstr("rank 1 ended with status 7; the others go on"));
}

TEST(Launcher, WhoEndsForAReasonThatStaysIsNotStartedAgain) {
  const Traces traces;
  LaunchOptions options = begun(1, fmt::format("cd {}; echo >> lives; exit 2", traces.folder()));
  options.survival = {.ranks = true, .restarts = 5};
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 2);
  EXPECT_THAT(launcher.err(), HasSubstr("rank 0 ended with status 2, and would again\n"));
  EXPECT_EQ(std::filesystem::file_size(traces.folder() + "/lives"), 1U);
}

TEST(Launcher, ServersThatFailAreStartedAgainOnlyIfTheyCan) {
  for (const bool can : {false, true}) {
    const Traces traces;
    LaunchOptions options =
        shell(1, fmt::format("cd {}; until test -e go; do sleep 0.01; done; echo done", traces.folder()));
    options.servers = {
        shell(1, fmt::format("cd {}; trap 'exit 0' TERM; test -e first || ! touch first || exit 3; touch go;"
                             "while true; do sleep 0.01; done",
                             traces.folder()))
            .command};
    options.survival = {.servers = can, .restarts = 5};
    Launcher launcher(options);
    EXPECT_EQ(launcher.status(), can ? 0 : 3);
    EXPECT_EQ(launcher.out(), can ? "[0] done\n" : "");
    EXPECT_THAT(launcher.err(), HasSubstr(can ? "server 0 ended with status 3; it starts again"
                                              : "server 0 ended with status 3; ending the others"));
  }
}

TEST(Launcher, AServerThatFailsEndsTheJobAlsoAfterARankHas) {
  const Traces traces;
  LaunchOptions options = begun(2, fmt::format("cd {}; test $GRADWIRE_RANK = 1 && touch failed && exit 7;"
                                               "exec sleep 60",
                                               traces.folder()));
  options.servers = {
      shell(1, fmt::format("cd {}; until test -e failed; do sleep 0.01; done; sleep 0.5; exit 3",
                           traces.folder()))
          .command};
  const auto start = std::chrono::steady_clock::now();
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 7);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  EXPECT_THAT(launcher.err(), HasSubstr("server 0 ended with status 3; ending the others"));
}

TEST(Launcher, NobodyIsStartedAgainInAJobThatEnds) {
  const Traces traces;
  LaunchOptions options = begun(1, fmt::format("cd {}; until test -e failed; do sleep 0.01; done; sleep 0.5;"
                                               "exit 7",
                                               traces.folder()));
  options.last_words = 60s;
  options.survival = {.ranks = true, .restarts = 5};
  options.servers = {shell(1, fmt::format("cd {}; touch failed; exit 3", traces.folder())).command};
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 3);
  EXPECT_THAT(launcher.err(), HasSubstr("server 0 ended with status 3; ending the others"));
  EXPECT_THAT(launcher.err(), Not(HasSubstr("starts again")));
  EXPECT_THAT(launcher.err(), Not(HasSubstr("go on")));
}

TEST(Launcher, ServersHaveTimeToEndOnceAllRanksHave) {
  const Traces traces;
  LaunchOptions options =
      shell(1, fmt::format("cd {}; until test -e ready; do sleep 0.01; done", traces.folder()));
  options.servers = {shell(1, fmt::format("cd {}; trap 'sleep 0.5; touch saved; exit 3' TERM; touch ready;"
                                          "while true; do sleep 0.01; done",
                                          traces.folder()))
                         .command};
  options.grace = 50ms;
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(traces.folder()) / "saved"));
  EXPECT_THAT(launcher.err(), HasSubstr("server 0 ended with status 3, after all ranks had ended"));
  options.servers_grace = 50ms;
  Launcher impatient(options);
  EXPECT_EQ(impatient.status(), 0);
}

TEST(Launcher, SharesTheCoresUnlessTold) {
  unsetenv("OMP_NUM_THREADS");
  unsetenv("OPENBLAS_NUM_THREADS");
  unsetenv("OMP_WAIT_POLICY");
  const std::string script = "echo $OMP_NUM_THREADS $OPENBLAS_NUM_THREADS $OMP_WAIT_POLICY";
  cpu_set_t cores;
  ASSERT_EQ(sched_getaffinity(0, sizeof cores, &cores), 0);
  for (const int ranks : {2, 64}) {
    const int share = std::max(1, CPU_COUNT(&cores) / ranks);
    Launcher many(shell(ranks, script));
    EXPECT_EQ(many.status(), 0);
    const std::string rank = ranks > 10 ? "[ 0]" : "[0]";
    EXPECT_THAT(many.lines(), Contains(fmt::format("{} {} {} passive", rank, share, share)));
  }
  setenv("OMP_NUM_THREADS", "7", 1);
  Launcher told(shell(1, script));
  unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(told.status(), 0);
  EXPECT_THAT(told.out(), testing::StartsWith("[0] 7 "));
}

TEST(Launcher, SetsWhatItIsGiven) {
  LaunchOptions options = shell(1, "echo $GRADWIRE_TRANSPORT");
  options.environment.emplace_back("GRADWIRE_TRANSPORT", "tcp");
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_EQ(launcher.out(), "[0] tcp\n");
}

TEST(Launcher, ReturnsTheStatusOfTheRankThatFailed) {
  Launcher launcher(shell(3, "test $GRADWIRE_RANK = 1 && exit 7; exit 0"));
  EXPECT_EQ(launcher.status(), 7);
  EXPECT_THAT(launcher.err(), HasSubstr("rank 1 ended with status 7"));
}

TEST(Launcher, ReturnsTheSignalThatKilledARank) {
  Launcher launcher(shell(2, "test $GRADWIRE_RANK = 1 && kill -SEGV $$; exit 0"));
  EXPECT_EQ(launcher.status(), 128 + SIGSEGV);
  EXPECT_THAT(launcher.err(), HasSubstr("rank 1 was killed by signal 11"));
}

TEST(Launcher, ReturnsTheSignalAlsoWhenPeersOfTheKilledRankEndFirst) {
  LaunchOptions options = shell(2, "test $GRADWIRE_RANK = 0 && exit 5; sleep 0.2; kill -KILL $$");
  options.last_words = 60s;
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 128 + SIGKILL);
  EXPECT_THAT(launcher.err(), HasSubstr("rank 1 was killed by signal 9"));
}

TEST(Launcher, EndsTheOthersWhenOneFails) {
  const auto start = std::chrono::steady_clock::now();
  Launcher launcher(shell(3, "test $GRADWIRE_RANK = 2 && exit 3; exec sleep 60"));
  EXPECT_EQ(launcher.status(), 3);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_THAT(launcher.err(), HasSubstr("rank 2 ended with status 3; ending the others"));
}

TEST(Launcher, OnlyRankZeroReadsTheInput) {
  const Traces traces;
  std::ofstream(traces.folder() + "/input") << "hello\n";
  const int input = open((traces.folder() + "/input").c_str(), O_RDONLY | O_CLOEXEC);
  const int before = dup(STDIN_FILENO);
  dup2(input, STDIN_FILENO);
  Launcher launcher(shell(2, "cat"));
  dup2(before, STDIN_FILENO);
  close(before);
  close(input);
  EXPECT_EQ(launcher.status(), 0);
  EXPECT_THAT(launcher.lines(), ElementsAre("[0] hello"));
}

TEST(Launcher, AProgramThatCannotBeRunIsAnError) {
  LaunchOptions options;
  options.ranks = 2;
  options.command = {"/no/such/program"};
  Launcher missing(options);
  EXPECT_EQ(missing.status(), 127);
  EXPECT_THAT(missing.err(), HasSubstr("'/no/such/program': No such file"));
  options.command = {"no-such-program-in-path"};
  EXPECT_EQ(Launcher(options).status(), 127);
  options.command = {"/"};
  EXPECT_EQ(Launcher(options).status(), 126);
}

TEST(Launcher, ManyRanksGetRoomForTheirPipes) {
  const auto limit_files = [](rlim_t soft, rlim_t hard) {
    const rlimit limit{soft, hard};
    ::setrlimit(RLIMIT_NOFILE, &limit);
  };
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  Launcher raised(shell(40, "ulimit -n"), [&] { limit_files(48, before.rlim_max); });
  EXPECT_EQ(raised.status(), 0) << raised.err();
  EXPECT_EQ(raised.lines().size(), 40U);
  EXPECT_THAT(raised.lines(), Contains("[39] 48")) << "a rank's own limit stays";

  Launcher refused(shell(40, "exit 0"), [&] { limit_files(48, 48); });
  EXPECT_EQ(refused.status(), 126);
  EXPECT_THAT(refused.err(), HasSubstr("144 open files are needed and 48 allowed"));
}

TEST(Launcher, StartsItsOwnProgramWithoutProc) {
  constexpr int kNotPossible = 99;
  Launcher launcher({}, [] {
    const bool hidden = unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
                        mount("none", "/proc", "tmpfs", MS_NOSUID | MS_NODEV, nullptr) == 0;
    _exit(hidden ? launch_this_program({"sh", "-c", "echo rank $GRADWIRE_RANK"}, 2).status : kNotPossible);
  });
  const int status = launcher.status();
  if (status == kNotPossible) GTEST_SKIP() << "no namespace of its own to be had";
  EXPECT_EQ(status, 0);
  EXPECT_THAT(launcher.lines(), UnorderedElementsAre("rank 0", "rank 1"));
}

}  // namespace
}  // namespace gradwire::cli
