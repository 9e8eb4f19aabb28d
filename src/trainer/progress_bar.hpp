#pragma once

#include <chrono>
#include <mutex>

#include "trainer/training_run.hpp"

namespace gradwire::trainer {

/// One line on standard error that redraws itself, a few times a second at most. Draws nothing when that is
/// no terminal, or one that understands no escape sequences. Thread-safe.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(const TrainProgress& progress);
  /// Takes the line away: to be called before anything else is printed.
  void clear();

 private:
  std::mutex mutex_;
  bool visible_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace gradwire::trainer
