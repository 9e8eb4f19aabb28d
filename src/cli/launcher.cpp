#include "cli/launcher.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string_view>
#include <system_error>

#include "cli/child_process.hpp"
#include "cli/launch_signals.hpp"
#include "cli/line_prefixer.hpp"

namespace gradwire::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Variables = std::vector<std::pair<std::string, std::string>>;

constexpr int kNotFound = 127;
constexpr int kCannotRun = 126;
constexpr int kKilledBy = 128;

struct Rank {
  Child child;
  LinePrefixer out;
  LinePrefixer err;
  std::optional<int> status;  ///< as a shell would give it, once it has ended
};

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EAGAIN) {
      pollfd entry{fd, POLLOUT, 0};
      ::poll(&entry, 1, -1);
    } else if (wrote < 0 && errno != EINTR) {
      return;
    } else if (wrote > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
  }
}

void say(const std::string& sentence) { write_all(STDERR_FILENO, "gradwire: " + sentence + "\n"); }

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  return CPU_COUNT(&set);
}

void set_unless_set(Variables& variables, const char* name, const std::string& value) {
  if (std::getenv(name) == nullptr) variables.emplace_back(name, value);
}

Variables shared_variables(const LaunchOptions& options) {
  std::random_device device;
  const std::string job = fmt::format("run-{}-{:08x}{:08x}", ::getpid(), device(), device());
  Variables out{{"GRADWIRE_WORLD_SIZE", std::to_string(options.ranks)},
                {"GRADWIRE_JOB", job},
                {"GRADWIRE_STORE", "unix://gradwire-" + job}};
  const std::string threads = std::to_string(std::max(1, available_cores() / options.ranks));
  set_unless_set(out, "OMP_NUM_THREADS", threads);
  set_unless_set(out, "OPENBLAS_NUM_THREADS", threads);
  set_unless_set(out, "OMP_WAIT_POLICY", "passive");
  if (options.prefix_output) set_unless_set(out, "PYTHONUNBUFFERED", "1");
  out.insert(out.end(), options.environment.begin(), options.environment.end());
  return out;
}

/// The ranks of one job from start to end.
class Job {
 public:
  explicit Job(const LaunchOptions& options) : options_(options) {}
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  int run();

 private:
  bool start();
  void handle_signal(int number);
  void look_for_ended_ranks();
  void note_end(std::size_t index, int status, bool killed);
  void escalate();
  void signal_all(int number) const;
  void copy_output(Rank& rank, bool error_output, std::string& to_out, std::string& to_err) const;
  bool wait_and_copy(std::chrono::milliseconds patience);
  [[nodiscard]] bool all_ended() const;
  [[nodiscard]] std::chrono::milliseconds time_to_next_step() const;

  const LaunchOptions& options_;
  LaunchSignals signals_;
  std::vector<Rank> ranks_;
  int status_ = 0;  ///< of the first rank that failed
  bool ending_ = false;
  bool terminated_ = false;
  Clock::time_point terminate_at_ = Clock::time_point::max();
  Clock::time_point kill_at_ = Clock::time_point::max();
};

Job::~Job() {
  // A rank's process stays a zombie until here, so that its group's number cannot have become somebody
  // else's.
  signal_all(SIGKILL);
  for (auto& rank : ranks_) ::waitpid(rank.child.pid, nullptr, 0);
}

int Job::run() {
  if (!start()) return status_;
  while (!all_ended()) {
    wait_and_copy(time_to_next_step());
    while (const auto number = signals_.next()) handle_signal(*number);
    look_for_ended_ranks();
    escalate();
  }
  // What ranks have started may still hold their pipes.
  signal_all(SIGKILL);
  const auto deadline = Clock::now() + std::chrono::seconds(1);
  while (wait_and_copy(std::chrono::milliseconds(50)) && Clock::now() < deadline) {
  }
  return status_;
}

bool Job::start() {
  const Variables shared = shared_variables(options_);
  const auto width = std::to_string(options_.ranks - 1).size();
  for (int r = 0; r < options_.ranks; ++r) {
    ChildOptions child;
    child.program = options_.command.at(0);
    child.arguments = options_.command;
    child.environment = shared;
    child.environment.emplace_back("GRADWIRE_RANK", std::to_string(r));
    child.capture = options_.prefix_output;
    child.inherit_input = r == 0 && ::isatty(STDIN_FILENO) == 0;
    const std::string prefix = fmt::format("[{:>{}}] ", r, width);
    try {
      ranks_.push_back({start_child(child), LinePrefixer(prefix), LinePrefixer(prefix), std::nullopt});
    } catch (const std::system_error& error) {
      say(error.what());
      status_ = error.code().value() == ENOENT ? kNotFound : kCannotRun;
      return false;
    }
  }
  return true;
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
  if (deadly && !terminated_) {
    terminated_ = true;
    ending_ = true;
    kill_at_ = Clock::now() + options_.grace;
  }
}

void Job::look_for_ended_ranks() {
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].status) continue;
    siginfo_t info{};
    const auto id = static_cast<id_t>(ranks_[i].child.pid);
    if (::waitid(P_PID, id, &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
      // Somebody else has buried it.
      if (errno == ECHILD) note_end(i, kCannotRun, false);
    } else if (info.si_pid != 0) {
      note_end(i, info.si_status, info.si_code != CLD_EXITED);
    }
  }
}

void Job::note_end(std::size_t index, int status, bool killed) {
  ranks_[index].status = killed ? kKilledBy + status : status;
  if (*ranks_[index].status == 0 || status_ != 0) return;
  status_ = *ranks_[index].status;
  if (ending_) return;
  ending_ = true;
  terminate_at_ = Clock::now() + options_.last_words;
  const std::string how = killed ? fmt::format("was killed by signal {} ({})", status, ::strsignal(status))
                                 : fmt::format("ended with status {}", status);
  const bool others =
      std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return !rank.status; });
  say(fmt::format("rank {} {}{}", index, how, others ? "; ending the others" : ""));
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

/// Returns whether any pipe is still open.
bool Job::wait_and_copy(std::chrono::milliseconds patience) {
  std::vector<pollfd> entries{{signals_.fd(), POLLIN, 0}};
  std::vector<std::pair<Rank*, bool>> sources;
  for (auto& rank : ranks_) {
    for (const bool error_output : {false, true}) {
      const auto& pipe = error_output ? rank.child.err : rank.child.out;
      if (!pipe) continue;
      entries.push_back({pipe.get(), POLLIN, 0});
      sources.emplace_back(&rank, error_output);
    }
  }
  if (sources.empty() && all_ended()) return false;
  ::poll(entries.data(), entries.size(), static_cast<int>(patience.count()));
  std::string to_out;
  std::string to_err;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (entries[i + 1].revents == 0) continue;
    copy_output(*sources[i].first, sources[i].second, to_out, to_err);
  }
  write_all(STDOUT_FILENO, to_out);
  write_all(STDERR_FILENO, to_err);
  return !sources.empty();
}

void Job::copy_output(Rank& rank, bool error_output, std::string& to_out, std::string& to_err) const {
  auto& pipe = error_output ? rank.child.err : rank.child.out;
  auto& prefixer = error_output ? rank.err : rank.out;
  auto& to = error_output ? to_err : to_out;
  std::array<char, 65536> buffer{};
  const auto got = ::read(pipe.get(), buffer.data(), buffer.size());
  if (got > 0) {
    prefixer.feed(std::string_view(buffer.data(), static_cast<std::size_t>(got)), to);
  } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
    prefixer.finish(to);
    pipe.reset();
  }
}

bool Job::all_ended() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.status.has_value(); });
}

std::chrono::milliseconds Job::time_to_next_step() const {
  const auto next = std::min(terminated_ ? Clock::time_point::max() : terminate_at_, kill_at_);
  const auto now = Clock::now();
  // Also the longest that an end can go unnoticed when two signals of children became one.
  constexpr std::chrono::milliseconds kLongest{1000};
  if (next - now >= kLongest) return kLongest;
  return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(next - now),
                  std::chrono::milliseconds(0)) +
         std::chrono::milliseconds(1);
}

}  // namespace

int launch_local_ranks(const LaunchOptions& options) {
  Job job(options);
  return job.run();
}

int launch_this_program(int ranks, Variables environment) {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  LaunchOptions options;
  for (std::string argument; std::getline(file, argument, '\0');) options.command.push_back(argument);
  std::error_code gone;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", gone);
  // The link still works when its target has been replaced by a new build.
  options.command.at(0) =
      !gone && std::filesystem::exists(program, gone) ? program.string() : "/proc/self/exe";
  options.ranks = ranks;
  options.environment = std::move(environment);
  options.prefix_output = false;
  return launch_local_ranks(options);
}

}  // namespace gradwire::cli
