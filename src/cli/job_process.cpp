#include "cli/job_process.hpp"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace gradwire::cli {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

std::string describe(const RankEnd& end) {
  if (!end.status) return "ended, nobody knows how";
  if (end.signal == 0) return fmt::format("ended with status {}", *end.status);
  return fmt::format("was killed by signal {} ({})", end.signal, ::strsignal(end.signal));
}

JobProcess::JobProcess(std::string name, std::string prefix, ChildOptions options, OutputPump& pump)
    : name_(std::move(name)), prefix_(std::move(prefix)), options_(std::move(options)) {
  start(options_, pump);
}

JobProcess::~JobProcess() { bury(); }

/// The process stays a zombie until here, so that its group's number cannot have become somebody else's.
void JobProcess::bury() noexcept {
  if (child_.pid < 0) return;
  child_.signal(SIGKILL);
  ::waitpid(std::exchange(child_.pid, -1), nullptr, 0);
}

void JobProcess::start(const ChildOptions& options, OutputPump& pump) {
  // It may run for a while before start_child() returns.
  started_ = Clock::now();
  child_ = start_child(options);
  pump.add(std::move(child_.out), std::move(child_.err), prefix_);
}

bool JobProcess::has_just_ended() {
  if (end_) return false;
  siginfo_t info{};
  const bool known = ::waitid(P_PID, static_cast<id_t>(child_.pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
  if (known ? info.si_pid == 0 : errno != ECHILD) return false;
  RankEnd end;
  if (known && info.si_code != CLD_EXITED) end.signal = info.si_status;
  if (known) end.status = end.signal != 0 ? kKilledBy + end.signal : info.si_status;
  end.seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  end_ = end;
  return true;
}

void JobProcess::restart(const std::vector<std::string>& arguments, OutputPump& pump) {
  bury();
  ChildOptions options = options_;
  options.arguments.insert(options.arguments.end(), arguments.begin(), arguments.end());
  start(options, pump);
  end_.reset();
}

}  // namespace gradwire::cli
