#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.hpp"
#include "cli/line_prefixer.hpp"
#include "cli/output_sink.hpp"

namespace gradwire::cli {

/// Copies what ranks print to this process's own outputs, line by line. Where nobody takes the lines the
/// ranks have to wait, but never this process. When the reader of an output has gone, the pipes that lead to
/// it are closed, and the rank that writes there next gets SIGPIPE.
class OutputPump {
 public:
  OutputPump();

  /// Whatever comes out of these pipes (non-blocking, or none) gets the prefix on each line.
  void add(base::UniqueFd out, base::UniqueFd err, const std::string& prefix);
  /// A line of the launcher's own, to stderr.
  void say(std::string_view line);

  /// Sleeps until something can be copied, `wake` is readable, or time is up; then copies what can be.
  void wait(int wake, std::chrono::milliseconds patience);
  /// Takes what is in the pipes and closes them: for when all ranks have ended. What else has them open is
  /// not waited for.
  void finish_reading();
  /// Whether there is something left to write.
  [[nodiscard]] bool has_backlog() const noexcept;
  /// The error (errno) for which something that ranks printed could not be written, 0 if there was none.
  [[nodiscard]] int write_error() const noexcept;

 private:
  struct Source {
    base::UniqueFd pipe;
    LinePrefixer lines;
    std::size_t sink;
  };

  std::size_t copy(Source& source);

  std::array<OutputSink, 2> sinks_;  ///< stdout and stderr
  std::vector<Source> sources_;
  std::size_t first_ = 0;  ///< the source to look at first, so that none starves when there is little room
};

}  // namespace gradwire::cli
