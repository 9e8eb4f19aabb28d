#include "cli/launcher.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <deque>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "cli/exit_status.hpp"
#include "cli/job_beginning.hpp"
#include "cli/job_children.hpp"
#include "cli/job_process.hpp"
#include "cli/launch_signals.hpp"
#include "cli/output_pump.hpp"

namespace gradwire::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kNotFound = 127;
constexpr int kCannotRun = 126;
/// Of a rank whose own is not known.
constexpr int kFailed = 1;
/// Also the longest that an end can go unnoticed when two signals of children became one.
constexpr std::chrono::milliseconds kLongestSleep{1000};
/// How long whoever takes the output of an interrupted job has for the rest of it.
constexpr std::chrono::milliseconds kLastFlush{500};

/// The ranks of one job from start to end.
class Job {
 public:
  explicit Job(const LaunchOptions& options) : options_(options) {}
  ~Job() { signal_all(SIGKILL); }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  LaunchResult run();

 private:
  bool start();
  void handle_signal(int number);
  bool restart(std::size_t index);
  /// Nobody needs the servers once all ranks have ended.
  void release_servers();
  void note_end(std::size_t index);
  void end_others(const JobProcess& failed);
  void escalate();
  /// Its end has been decided, though the ranks may still be saying their last words.
  [[nodiscard]] bool is_ending() const noexcept {
    return terminated_ || terminate_at_ != Clock::time_point::max();
  }
  void signal_all(int number) const;
  void say(const std::string& sentence) { pump_.say("gradwire: " + sentence); }
  void flush();
  [[nodiscard]] std::size_t ranks() const noexcept { return static_cast<std::size_t>(options_.ranks); }
  [[nodiscard]] static bool has_ended(const JobProcess& process) { return process.end().has_value(); }
  [[nodiscard]] bool ranks_ended() const {
    return std::all_of(processes_.begin(), processes_.begin() + options_.ranks, has_ended);
  }
  [[nodiscard]] bool all_ended() const;
  [[nodiscard]] std::chrono::milliseconds time_to_next_step() const;

  const LaunchOptions& options_;
  LaunchSignals signals_;
  OutputPump pump_;
  std::optional<JobBeginning> beginning_;  ///< of a job that survives its ranks
  std::deque<JobProcess> processes_;       ///< the ranks, and behind them the servers
  int restarts_ = 0;
  int status_ = 0;  ///< of the first rank that failed, but sooner of one that a signal killed
  bool cause_known_ = false;
  bool terminated_ = false;
  bool released_ = false;            ///< the servers are, by release_servers()
  std::optional<int> interruption_;  ///< the signal by which somebody wanted the end
  Clock::time_point terminate_at_ = Clock::time_point::max();
  Clock::time_point kill_at_ = Clock::time_point::max();
};

LaunchResult Job::run() {
  LaunchResult result;
  if (start()) {
    while (!all_ended()) {
      pump_.wait(signals_.fd(), time_to_next_step());
      while (const auto number = signals_.next()) handle_signal(*number);
      for (std::size_t i = 0; i < processes_.size(); ++i) {
        if (processes_[i].has_just_ended()) note_end(i);
      }
      release_servers();
      escalate();
    }
    for (std::size_t i = 0; i < ranks(); ++i) result.ranks.push_back(*processes_[i].end());
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
    LaunchOptions options = options_;
    if (options.survival.ranks) {
      options.environment.push_back(beginning_.emplace().variable());
    }
    for (auto& child : children_of(options)) {
      processes_.emplace_back(std::move(child.name), std::move(child.prefix), std::move(child.options),
                              pump_);
    }
    return true;
  } catch (const std::system_error& error) {
    say(error.what());
    status_ = error.code().value() == ENOENT ? kNotFound : kCannotRun;
    return false;
  }
}

void Job::release_servers() {
  if (terminated_ || all_ended() || !ranks_ended()) return;
  terminated_ = released_ = true;
  kill_at_ = Clock::now() + options_.servers_grace;
  signal_all(SIGTERM);
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
  // That servers were told to end was no interruption.
  const bool is_first = deadly && (!terminated_ || (released_ && !interruption_));
  signal_all(deadly && !is_first ? SIGKILL : number);
  if (deadly && !interruption_) interruption_ = number;
  if (is_first) {
    terminated_ = true;
    kill_at_ = std::min(kill_at_, Clock::now() + options_.grace);
  }
}

void Job::note_end(std::size_t index) {
  const JobProcess& process = processes_[index];
  const bool is_rank = index < ranks();
  const bool is_early = !is_rank && !terminated_;
  if (process.end()->status == 0 && !is_early) return;
  if (!is_rank && released_) {
    say(fmt::format("{} {}, after all ranks had ended", process.name(), describe(*process.end())));
    return;
  }
  // Until all have set out, each is waited for.
  const bool is_needed = is_rank && !(beginning_ && beginning_->has_come());
  if (!is_ending() && !is_needed && restart(index)) return;
  if (is_rank && !is_needed && !is_ending()) {
    if (status_ == 0) status_ = process.end()->status.value_or(kFailed);
    const bool would_recur = process.end()->status == kUsage && options_.survival.restarts > 0;
    say(fmt::format("{} {}{}{}", process.name(), describe(*process.end()),
                    would_recur ? ", and would again" : "", ranks_ended() ? "" : "; the others go on"));
    return;
  }
  end_others(process);
}

/// Whether it runs again.
bool Job::restart(std::size_t index) {
  const Survival& survival = options_.survival;
  const bool is_rank = index < ranks();
  if (!(is_rank ? survival.ranks : survival.servers) || restarts_ == survival.restarts) return false;
  JobProcess& process = processes_[index];
  if (process.end()->status == kUsage) return false;
  const std::string why = describe(*process.end());
  try {
    process.restart(is_rank ? survival.rejoin : std::vector<std::string>{}, pump_);
  } catch (const std::system_error& error) {
    say(error.what());
    return false;
  }
  ++restarts_;
  say(fmt::format("{} {}; it starts again ({} of {} restarts)", process.name(), why, restarts_,
                  survival.restarts));
  return true;
}

void Job::end_others(const JobProcess& failed) {
  const RankEnd& end = *failed.end();
  // Peers can see the connections of a killed rank close, and end, before its own end is seen here.
  const bool cause = end.signal != 0 && !terminated_ && !cause_known_;
  if (is_ending() && status_ != 0 && !cause) return;
  if (status_ == 0 || cause) status_ = end.status.value_or(kFailed);
  if (status_ == 0) status_ = kFailed;
  cause_known_ = end.signal != 0;
  if (terminated_) return;
  terminate_at_ = std::min(terminate_at_, Clock::now() + options_.last_words);
  say(fmt::format("{} {}{}", failed.name(), describe(end), all_ended() ? "" : "; ending the others"));
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
  for (const auto& process : processes_) process.signal(number);
}

bool Job::all_ended() const { return std::all_of(processes_.begin(), processes_.end(), has_ended); }

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

LaunchResult launch_this_program(const std::vector<std::string>& arguments, int ranks,
                                 std::vector<std::vector<std::string>> servers, const Survival& survival) {
  LaunchOptions options;
  options.command = arguments;
  options.servers = std::move(servers);
  options.survival = survival;
  // The link still works when its target has been replaced by a new build; without /proc there is none.
  const std::string link = "/proc/self/exe";
  std::error_code gone;
  const auto program = std::filesystem::read_symlink(link, gone);
  if (!gone) {
    const std::string self = std::filesystem::exists(program, gone) ? program.string() : link;
    options.command.at(0) = self;
    for (auto& server : options.servers) server.at(0) = self;
  }
  options.ranks = ranks;
  options.prefix_output = false;
  return launch_local_ranks(options);
}

}  // namespace gradwire::cli
