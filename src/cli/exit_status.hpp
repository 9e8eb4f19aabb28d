#pragma once

#include <stdexcept>

namespace gradwire::cli {

inline constexpr int kFailure = 1;  ///< something went wrong, or a check did not hold
inline constexpr int kUsage = 2;    ///< the command line makes no sense

/// Thrown by a command to end the program with `status` once everything has been said.
struct ExitStatus {
  int status = 0;
};

/// Thrown for a command line that parses but makes no sense: main prints the sentence and exits with kUsage.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace gradwire::cli
