#pragma once

#include <chrono>

namespace gradwire::trainer {

/// Training time, with pauses for what isn't training.
class StopWatch {
 public:
  void start() { started_ = Clock::now(); }
  void stop() { total_ += std::chrono::duration<double>(Clock::now() - started_).count(); }
  void add(double seconds) { total_ += seconds; }
  [[nodiscard]] double stopped_seconds() const { return total_; }
  [[nodiscard]] double running_seconds() const {
    return total_ + std::chrono::duration<double>(Clock::now() - started_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point started_;
  double total_ = 0;
};

}  // namespace gradwire::trainer
