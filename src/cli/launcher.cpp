#include "cli/launcher.hpp"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <system_error>

#include "base/usable_cores.hpp"
#include "cli/child_process.hpp"
#include "cli/file_limit.hpp"
#include "cli/launch_signals.hpp"
#include "cli/output_pump.hpp"

namespace gradwire::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Variables = std::vector<std::pair<std::string, std::string>>;

constexpr int kNotFound = 127;
constexpr int kCannotRun = 126;
constexpr int kKilledBy = 128;
/// Of a rank whose own is not known.
constexpr int kFailed = 1;
/// Also the longest that an end can go unnoticed when two signals of children became one.
constexpr std::chrono::milliseconds kLongestSleep{1000};
/// How long whoever takes the output of an interrupted job has for the rest of it.
constexpr std::chrono::milliseconds kLastFlush{500};

struct Rank {
  Child child;
  Clock::time_point started;
  std::optional<RankEnd> end;
};

void set_unless_set(Variables& variables, const char* name, const std::string& value) {
  if (std::getenv(name) == nullptr) variables.emplace_back(name, value);
}

Variables shared_variables(const LaunchOptions& options) {
  std::random_device device;
  const std::string job = fmt::format("run-{}-{:08x}{:08x}", ::getpid(), device(), device());
  Variables out{{"GRADWIRE_WORLD_SIZE", std::to_string(options.ranks)},
                {"GRADWIRE_JOB", job},
                {"GRADWIRE_STORE", "unix://gradwire-" + job}};
  const std::string threads = std::to_string(std::max(1, base::usable_cores() / options.ranks));
  set_unless_set(out, "OMP_NUM_THREADS", threads);
  set_unless_set(out, "OPENBLAS_NUM_THREADS", threads);
  set_unless_set(out, "OMP_WAIT_POLICY", "passive");
  if (options.prefix_output) set_unless_set(out, "PYTHONUNBUFFERED", "1");
  out.insert(out.end(), options.environment.begin(), options.environment.end());
  return out;
}

rlim_t files_needed(int ranks) {
  constexpr rlim_t kOthers = 64;
  return 2 * static_cast<rlim_t>(ranks) + kOthers;
}

std::string describe(const RankEnd& end) {
  if (!end.status) return "ended, nobody knows how";
  if (end.signal == 0) return fmt::format("ended with status {}", *end.status);
  return fmt::format("was killed by signal {} ({})", end.signal, ::strsignal(end.signal));
}

/// The ranks of one job from start to end.
class Job {
 public:
  explicit Job(const LaunchOptions& options) : options_(options) {}
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  LaunchResult run();

 private:
  bool start();
  void handle_signal(int number);
  void look_for_ended_ranks();
  void note_end(std::size_t index, const RankEnd& end);
  void escalate();
  void signal_all(int number) const;
  void say(const std::string& sentence) { pump_.say("gradwire: " + sentence); }
  void flush();
  [[nodiscard]] bool all_ended() const;
  [[nodiscard]] std::chrono::milliseconds time_to_next_step() const;

  const LaunchOptions& options_;
  LaunchSignals signals_;
  OutputPump pump_;
  std::vector<Rank> ranks_;
  int status_ = 0;  ///< of the first rank that failed, but sooner of one that a signal killed
  bool cause_known_ = false;
  bool terminated_ = false;
  std::optional<int> interruption_;  ///< the signal by which somebody wanted the end
  Clock::time_point terminate_at_ = Clock::time_point::max();
  Clock::time_point kill_at_ = Clock::time_point::max();
};

Job::~Job() {
  // A rank's process stays a zombie until here, so that its group's number cannot have become somebody
  // else's.
  signal_all(SIGKILL);
  for (auto& rank : ranks_) ::waitpid(rank.child.pid, nullptr, 0);
}

LaunchResult Job::run() {
  LaunchResult result;
  if (start()) {
    while (!all_ended()) {
      pump_.wait(signals_.fd(), time_to_next_step());
      while (const auto number = signals_.next()) handle_signal(*number);
      look_for_ended_ranks();
      escalate();
    }
    for (const auto& rank : ranks_) result.ranks.push_back(*rank.end);
  }
  // What ranks have started may still hold their pipes.
  signal_all(SIGKILL);
  pump_.finish_reading();
  flush();
  if (const int error = pump_.write_error(); error != 0) {
    say(fmt::format("output of the ranks could not be written: {}; send it to where there is room",
                    std::generic_category().message(error)));
    if (status_ == 0) status_ = kFailed;
    flush();
  }
  result.status = status_;
  return result;
}

/// Waits for whoever takes our output, unless it has been said that this should end.
void Job::flush() {
  const auto deadline = interruption_ ? Clock::now() + kLastFlush : Clock::time_point::max();
  const auto patience = interruption_ ? kLastFlush / 10 : kLongestSleep;
  while (pump_.has_backlog()) {
    if (status_ == 0 && Clock::now() >= deadline) status_ = kKilledBy + *interruption_;
    if (Clock::now() >= deadline) return;
    pump_.wait(signals_.fd(), patience);
    while (const auto number = signals_.next()) {
      handle_signal(*number);
      if (!is_deadly(*number)) continue;
      if (status_ == 0) status_ = kKilledBy + *number;
      return;
    }
  }
}

bool Job::start() {
  try {
    ChildOptions child;
    child.program = options_.command.at(0);
    child.arguments = options_.command;
    child.capture = options_.prefix_output;
    if (child.capture) child.file_limit = make_room_for_files(files_needed(options_.ranks));
    const Variables shared = shared_variables(options_);
    const auto width = std::to_string(options_.ranks - 1).size();
    for (int r = 0; r < options_.ranks; ++r) {
      child.environment = shared;
      child.environment.emplace_back("GRADWIRE_RANK", std::to_string(r));
      child.inherit_input = r == 0 && ::isatty(STDIN_FILENO) == 0;
      // A rank may run for a while before start_child() returns.
      const auto started = Clock::now();
      ranks_.push_back({start_child(child), started, std::nullopt});
      auto& pipes = ranks_.back().child;
      pump_.add(std::move(pipes.out), std::move(pipes.err), fmt::format("[{:>{}}] ", r, width));
    }
    return true;
  } catch (const std::system_error& error) {
    say(error.what());
    status_ = error.code().value() == ENOENT ? kNotFound : kCannotRun;
    return false;
  }
}

void Job::handle_signal(int number) {
  if (number == SIGCHLD) return;
  if (number == SIGTSTP) {
    signal_all(SIGSTOP);
    ::raise(SIGSTOP);
    signal_all(SIGCONT);
    return;
  }
  const bool deadly = is_deadly(number);
  const bool impatient = deadly && terminated_;
  signal_all(impatient ? SIGKILL : number);
  if (deadly && !interruption_) interruption_ = number;
  if (deadly && !terminated_) {
    terminated_ = true;
    kill_at_ = Clock::now() + options_.grace;
  }
}

void Job::look_for_ended_ranks() {
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].end) continue;
    siginfo_t info{};
    const auto id = static_cast<id_t>(ranks_[i].child.pid);
    const bool known = ::waitid(P_PID, id, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
    if (known ? info.si_pid == 0 : errno != ECHILD) continue;
    RankEnd end;
    if (known && info.si_code != CLD_EXITED) end.signal = info.si_status;
    if (known) end.status = end.signal != 0 ? kKilledBy + end.signal : info.si_status;
    end.seconds = std::chrono::duration<double>(Clock::now() - ranks_[i].started).count();
    note_end(i, end);
  }
}

void Job::note_end(std::size_t index, const RankEnd& end) {
  ranks_[index].end = end;
  if (end.status == 0) return;
  // Peers can see the connections of a killed rank close, and end, before its own end is seen here.
  const bool cause = end.signal != 0 && !terminated_ && !cause_known_;
  if (status_ != 0 && !cause) return;
  status_ = end.status.value_or(kFailed);
  cause_known_ = end.signal != 0;
  if (terminated_) return;
  terminate_at_ = std::min(terminate_at_, Clock::now() + options_.last_words);
  say(fmt::format("rank {} {}{}", index, describe(end), all_ended() ? "" : "; ending the others"));
}

void Job::escalate() {
  const auto now = Clock::now();
  if (now >= terminate_at_ && !terminated_) {
    terminated_ = true;
    kill_at_ = now + options_.grace;
    signal_all(SIGTERM);
  }
  if (now >= kill_at_) {
    signal_all(SIGKILL);
    kill_at_ = Clock::time_point::max();
  }
}

void Job::signal_all(int number) const {
  for (const auto& rank : ranks_) rank.child.signal(number);
}

bool Job::all_ended() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.end.has_value(); });
}

std::chrono::milliseconds Job::time_to_next_step() const {
  const auto next = std::min(terminated_ ? Clock::time_point::max() : terminate_at_, kill_at_);
  const auto now = Clock::now();
  if (next - now >= kLongestSleep) return kLongestSleep;
  return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(next - now),
                  std::chrono::milliseconds(0)) +
         std::chrono::milliseconds(1);
}

}  // namespace

LaunchResult launch_local_ranks(const LaunchOptions& options) {
  Job job(options);
  return job.run();
}

LaunchResult launch_this_program(const std::vector<std::string>& arguments, int ranks) {
  LaunchOptions options;
  options.command = arguments;
  // The link still works when its target has been replaced by a new build; without /proc there is none.
  const std::string link = "/proc/self/exe";
  std::error_code gone;
  const auto program = std::filesystem::read_symlink(link, gone);
  if (!gone) options.command.at(0) = std::filesystem::exists(program, gone) ? program.string() : link;
  options.ranks = ranks;
  options.prefix_output = false;
  return launch_local_ranks(options);
}

}  // namespace gradwire::cli
