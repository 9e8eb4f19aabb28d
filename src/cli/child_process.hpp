#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"

namespace gradwire::cli {

struct ChildOptions {
  std::string program;                                           ///< looked up in PATH unless it has a slash
  std::vector<std::string> arguments;                            ///< the first one is the program's name
  std::vector<std::pair<std::string, std::string>> environment;  ///< set on top of this process's
  bool capture = false;              ///< stdout and stderr come through pipes; else they are this process's
  bool inherit_input = false;        ///< else stdin is empty
  std::optional<rlimit> file_limit;  ///< if it shall not be this process's
};

/// A process in a group of its own, which the kernel kills when this process dies.
struct Child {
  pid_t pid = -1;
  base::UniqueFd out;  ///< non-blocking, when captured
  base::UniqueFd err;

  /// To the process and what it has started; nothing once it has been reaped.
  void signal(int number) const noexcept;
};

/// Throws std::system_error with the errno of what failed, ENOENT when there is no such program.
Child start_child(const ChildOptions& options);

}  // namespace gradwire::cli
