#pragma once

#include <climits>
#include <cstddef>
#include <string>

#include "base/unique_fd.hpp"

namespace gradwire::cli {

/// What is on its way to one of this process's outputs. Writing never blocks, whatever that output is.
class OutputSink {
 public:
  explicit OutputSink(int fd);

  /// To append to.
  [[nodiscard]] std::string& queue() noexcept { return queue_; }
  [[nodiscard]] bool empty() const noexcept { return written_ == queue_.size(); }
  /// Whoever fills it should wait for now.
  [[nodiscard]] bool full() const noexcept { return queue_.size() - written_ >= kEnough; }

  /// To wait for until it can be written to.
  [[nodiscard]] int fd() const noexcept { return own_ ? own_.get() : fd_; }
  /// Writes what goes at once; to be called when fd() is ready. When nobody can get it any more it is
  /// dropped.
  void write_some();
  /// Something was dropped because whoever read it has gone.
  [[nodiscard]] bool abandoned() const noexcept { return abandoned_; }
  /// Why something was dropped although somebody could still get it, 0 if nothing was.
  [[nodiscard]] int error() const noexcept { return error_; }

 private:
  static constexpr std::size_t kEnough = std::size_t{1} << 20U;

  int fd_;
  base::UniqueFd own_;            ///< the same pipe or terminal, non-blocking
  std::size_t piece_ = PIPE_BUF;  ///< what surely goes at once when fd() is ready
  std::string queue_;
  std::size_t written_ = 0;  ///< of the queue
  bool abandoned_ = false;
  int error_ = 0;
};

}  // namespace gradwire::cli
