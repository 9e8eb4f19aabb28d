#include "cli/launch_signals.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace gradwire::cli {
namespace {

constexpr std::array kWanted{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP};

bool is_ignored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

LaunchSignals::LaunchSignals() {
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int signal : kWanted) {
    if (!is_ignored(signal)) sigaddset(&wanted, signal);
  }
  sigaddset(&wanted, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &wanted, &mask_before_);
  struct sigaction waited_for {};
  waited_for.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &waited_for, &children_before_);
  // A handler, and not SIG_IGN, which the ranks would inherit: exec makes it the default again.
  struct sigaction unharmed {};
  unharmed.sa_handler = [](int) {};
  unharmed.sa_flags = SA_RESTART;
  ::sigaction(SIGPIPE, nullptr, &pipe_before_);
  if (pipe_before_.sa_handler != SIG_IGN) ::sigaction(SIGPIPE, &unharmed, nullptr);
  fd_.reset(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw std::system_error(errno, std::generic_category(), "cannot wait for signals");
}

LaunchSignals::~LaunchSignals() {
  ::sigaction(SIGPIPE, &pipe_before_, nullptr);
  ::sigaction(SIGCHLD, &children_before_, nullptr);
  ::sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
}

std::optional<int> LaunchSignals::next() const {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

bool is_deadly(int signal) noexcept {
  return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT;
}

}  // namespace gradwire::cli
