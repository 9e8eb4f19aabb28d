#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "gradwire/work.hpp"

namespace gradwire::base {

/// What a Work asks whether its operation has ended: a communicator's engine, or a client of parameter
/// servers. It knows an operation by its own type and the number of its run.
class WorkSource {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~WorkSource() = default;

  /// Whether run `sequence` of the operation has ended, in success or failure.
  [[nodiscard]] virtual bool work_done(const void* operation, std::uint64_t sequence) const noexcept = 0;
  /// True when it has ended; false when the deadline came first. Throws what it ended with.
  virtual bool wait_for_work(void* operation, std::uint64_t sequence,
                             std::optional<Clock::time_point> deadline) = 0;

 protected:
  [[nodiscard]] static Work make_work(std::shared_ptr<WorkSource> source, std::shared_ptr<void> operation,
                                      std::uint64_t sequence) noexcept {
    return {std::move(source), std::move(operation), sequence};
  }
};

}  // namespace gradwire::base
