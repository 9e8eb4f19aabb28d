#include "cli/child_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <system_error>

namespace gradwire::cli {
namespace {

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

struct Pipe {
  base::UniqueFd read;
  base::UniqueFd write;
};

Pipe open_pipe() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) fail(errno, "cannot make a pipe");
  return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

std::vector<std::string> merged_environment(
    const std::vector<std::pair<std::string, std::string>>& additions) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    const bool replaced = std::any_of(additions.begin(), additions.end(),
                                      [&](const auto& addition) { return addition.first == name; });
    if (!replaced) out.emplace_back(text);
  }
  for (const auto& [name, value] : additions) out.push_back(fmt::format("{}={}", name, value));
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

/// What the new process does between fork and exec. Returns errno when something failed.
int become(const ChildOptions& options, const Child& pipes_write, pid_t parent, char* const* arguments,
           char* const* environment) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) return ESRCH;
  // From a group in the background the terminal could stop a rank that prints its progress.
  std::signal(SIGTTOU, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (!options.inherit_input) {
    const int empty = ::open("/dev/null", O_RDONLY);
    if (empty < 0 || ::dup2(empty, STDIN_FILENO) < 0) return errno;
    if (empty != STDIN_FILENO) ::close(empty);
  }
  if (options.capture && (::dup2(pipes_write.out.get(), STDOUT_FILENO) < 0 ||
                          ::dup2(pipes_write.err.get(), STDERR_FILENO) < 0)) {
    return errno;
  }
  if (options.file_limit) ::setrlimit(RLIMIT_NOFILE, &*options.file_limit);
  ::execvpe(options.program.c_str(), arguments, environment);
  return errno;
}

}  // namespace

void Child::signal(int number) const noexcept {
  if (pid > 0) ::kill(-pid, number);
}

Child start_child(const ChildOptions& options) {
  std::vector<std::string> arguments = options.arguments;
  std::vector<std::string> environment = merged_environment(options.environment);
  const auto argument_pointers = pointers(arguments);
  const auto environment_pointers = pointers(environment);

  Child child;
  Child ends;
  if (options.capture) {
    Pipe out = open_pipe();
    Pipe err = open_pipe();
    ::fcntl(out.read.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(err.read.get(), F_SETFL, O_NONBLOCK);
    child.out = std::move(out.read);
    child.err = std::move(err.read);
    ends.out = std::move(out.write);
    ends.err = std::move(err.write);
  }
  // Closed by a successful exec; otherwise errno comes through it.
  Pipe verdict = open_pipe();
  const pid_t parent = ::getpid();
  child.pid = ::fork();
  if (child.pid < 0) fail(errno, "cannot start a process");
  if (child.pid == 0) {
    const int error = become(options, ends, parent, argument_pointers.data(), environment_pointers.data());
    (void)!::write(verdict.write.get(), &error, sizeof error);
    ::_exit(127);
  }
  ::setpgid(child.pid, child.pid);
  verdict.write.reset();
  int error = 0;
  ssize_t got = 0;
  do {
    got = ::read(verdict.read.get(), &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  if (got > 0) {
    ::waitpid(child.pid, nullptr, 0);
    fail(error, "cannot run '" + options.program + "'");
  }
  return child;
}

}  // namespace gradwire::cli
