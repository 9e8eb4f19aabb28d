#pragma once

#include <csignal>
#include <optional>

#include "base/unique_fd.hpp"

namespace gradwire::cli {

/// Takes the signals that concern a launcher out of a descriptor instead, until it is destroyed. Those that
/// this process was told to ignore, by nohup or by a shell for its background jobs, stay ignored, but for
/// SIGCHLD: children are waited for. SIGPIPE does nothing here: whose output nobody reads learns it from the
/// write that fails.
class LaunchSignals {
 public:
  LaunchSignals();
  ~LaunchSignals();
  LaunchSignals(const LaunchSignals&) = delete;
  LaunchSignals& operator=(const LaunchSignals&) = delete;

  /// Readable when there is a next one.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] std::optional<int> next() const;

 private:
  sigset_t mask_before_{};
  struct sigaction children_before_ {};
  struct sigaction pipe_before_ {};
  base::UniqueFd fd_;
};

/// Whether whoever sends it wants the job to end.
[[nodiscard]] bool is_deadly(int signal) noexcept;

}  // namespace gradwire::cli
