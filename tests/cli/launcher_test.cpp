#include "cli/launcher.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace gradwire::cli {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

LaunchOptions shell(int ranks, const std::string& script) {
  LaunchOptions options;
  options.ranks = ranks;
  options.command = {"sh", "-c", script};
  options.last_words = 100ms;
  return options;
}

/// A launcher in a process of its own, whose output can be read.
class Launcher {
 public:
  using Ends = std::array<int, 2>;  ///< what can be read from and what can be written to

  /// `before` is called in that process first.
  explicit Launcher(
      const LaunchOptions& options, const std::function<void()>& before = [] {})
      : Launcher(options, make_pipe(), before) {
    read_output();
  }
  /// Its output goes into `out`, and stays there until read_output().
  Launcher(
      const LaunchOptions& options, Ends out, const std::function<void()>& before = [] {}) {
    Ends err{};
    EXPECT_EQ(pipe2(err.data(), O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(out[1], STDOUT_FILENO);
      dup2(err[1], STDERR_FILENO);
      before();
      _exit(launch_local_ranks(options));
    }
    close(out[1]);
    close(err[1]);
    unread_ = out[0];
    readers_.emplace_back([this, fd = err[0]] { slurp(fd, err_); });
  }
  ~Launcher() {
    if (pid_ > 0) status();
  }
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  static Ends make_pipe() {
    Ends ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    return ends;
  }
  static Ends make_socket() {
    Ends ends{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    return ends;
  }

  [[nodiscard]] pid_t pid() const { return pid_; }
  void read_output() {
    readers_.emplace_back([this, fd = std::exchange(unread_, -1)] { slurp(fd, out_); });
  }

  /// As a shell gives it; 128 + SIGKILL when it does not end.
  int status() {
    int status = 0;
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) kill(pid_, SIGKILL);
      std::this_thread::sleep_for(1ms);
    }
    pid_ = -1;
    if (unread_ >= 0) close(std::exchange(unread_, -1));
    for (auto& reader : readers_) reader.join();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  [[nodiscard]] const std::string& out() const { return out_; }
  [[nodiscard]] const std::string& err() const { return err_; }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    std::istringstream in(out_);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

 private:
  static void slurp(int fd, std::string& to) {
    std::array<char, 4096> buffer{};
    for (ssize_t got = 1; got > 0;) {
      got = read(fd, buffer.data(), buffer.size());
      if (got > 0) to.append(buffer.data(), static_cast<std::size_t>(got));
    }
    close(fd);
  }

  pid_t pid_ = -1;
  int unread_ = -1;
  std::string out_;
  std::string err_;
  std::vector<std::thread> readers_;
};

/// A folder in which ranks leave their traces.
class Traces {
 public:
  Traces() {
    std::string name = (std::filesystem::temp_directory_path() / "gradwire-launcher-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~Traces() { std::filesystem::remove_all(folder_); }
  Traces(const Traces&) = delete;
  Traces& operator=(const Traces&) = delete;

  [[nodiscard]] std::string folder() const { return folder_; }
  [[nodiscard]] long count() const {
    const std::filesystem::directory_iterator files(folder_);
    return std::distance(begin(files), end(files));
  }
  bool wait_for(long files) const {
    for (int i = 0; i < 1000 && count() < files; ++i) std::this_thread::sleep_for(10ms);
    return count() >= files;
  }
  /// The numbers that ranks have written into their files.
  [[nodiscard]] std::vector<pid_t> pids() const {
    std::vector<pid_t> out;
    for (const auto& file : std::filesystem::directory_iterator(folder_)) {
      pid_t pid = -1;
      std::ifstream(file.path()) >> pid;
      out.push_back(pid);
    }
    return out;
  }

 private:
  std::filesystem::path folder_;
};

bool gone(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    if (kill(pid, 0) != 0) return true;
    // A zombie that nobody has buried yet is gone, too.
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(stat, text);
    const auto state = text.rfind(')');
    if (state == std::string::npos || text.substr(state, 3) == ") Z") return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

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

TEST(Launcher, EndsTheOthersWhenOneFails) {
  const auto start = std::chrono::steady_clock::now();
  Launcher launcher(shell(3, "test $GRADWIRE_RANK = 2 && exit 3; exec sleep 60"));
  EXPECT_EQ(launcher.status(), 3);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_THAT(launcher.err(), HasSubstr("rank 2 ended with status 3; ending the others"));
}

TEST(Launcher, LetsTheOthersSayTheirLastWords) {
  LaunchOptions options =
      shell(2, "test $GRADWIRE_RANK = 1 && exit 3; sleep 0.3; echo my peer is gone; exec sleep 60");
  options.last_words = 1000ms;
  Launcher launcher(options);
  EXPECT_EQ(launcher.status(), 3);
  EXPECT_EQ(launcher.out(), "[0] my peer is gone\n");
}

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
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
    const Traces traces;
    Launcher launcher(shell(2, "trap 'echo caught; exit 9' INT TERM HUP USR1; echo $$ > " + traces.folder() +
                                   "/$GRADWIRE_RANK; while :; do sleep 0.05; done"));
    ASSERT_TRUE(traces.wait_for(2));
    kill(launcher.pid(), number);
    EXPECT_EQ(launcher.status(), 9);
    EXPECT_THAT(launcher.lines(), UnorderedElementsAre("[0] caught", "[1] caught")) << strsignal(number);
  }
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

}  // namespace
}  // namespace gradwire::cli
