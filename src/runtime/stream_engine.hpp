#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "collectives/schedule.hpp"
#include "gradwire/communicator.hpp"
#include "gradwire/error.hpp"
#include "runtime/stream_operation.hpp"
#include "transport/stream_links.hpp"

namespace gradwire::runtime {

/// What stands behind an NcclCommunicator: links, and what became of them. Its operations advance on their
/// streams; nobody drives them. Thread-safe; it and its links outlive its operations.
class StreamEngine {
 public:
  struct Options {
    /// The same with a timeout that is not longer than any. Throws Error(invalid_argument).
    [[nodiscard]] Options checked(int ranks) const;

    std::vector<int> hosts;  ///< [rank], as in collectives::Topology
    std::string codec;       ///< as CommunicatorOptions::codec
    std::chrono::milliseconds timeout{300'000};
  };
  /// One that is not positive is Error(invalid_argument), one that is longer than any is shortened.
  [[nodiscard]] static std::chrono::milliseconds checked(std::chrono::milliseconds timeout);

  /// Throws Error(invalid_argument).
  StreamEngine(std::unique_ptr<transport::StreamLinks> links, const Options& options);
  ~StreamEngine();
  StreamEngine(const StreamEngine&) = delete;
  StreamEngine& operator=(const StreamEngine&) = delete;

  [[nodiscard]] int rank() const noexcept { return links_->rank(); }
  [[nodiscard]] int world_size() const noexcept { return links_->ranks(); }
  [[nodiscard]] int device() const noexcept { return links_->device(); }

  // The next four throw what made the links fail. Whatever start(), wait() and done() throw for the first
  // time is the links' end, but for Error(invalid_argument) of a start() of which nothing came onto the
  // stream.

  [[nodiscard]] std::unique_ptr<StreamOperation> build(collectives::Collective collective,
                                                       std::span<const OperationTensor> tensors,
                                                       const OperationOptions& options) const;
  void start(StreamOperation& operation);
  /// Until all that was started has come to its end on the stream. Throws Error(timeout) after a time without
  /// that. Returns whether something was not finite: then tensors are NaN, and residuals as they were. Where
  /// it throws, and the links can end what is on streams, it has waited for that, too, up to the bound.
  bool wait(StreamOperation& operation);
  [[nodiscard]] bool done(const StreamOperation& operation);
  /// Waits, too, after a failure up to the bound, and frees it if it has come to its end.
  void end(std::unique_ptr<StreamOperation> operation) noexcept;

  void abort() noexcept;

 private:
  void throw_failure() const;
  /// What the links say after they have refused something.
  [[nodiscard]] bool are_usable() const;
  /// Ends the links, unless they have ended.
  void give_up(const Error& error);
  [[nodiscard]] Error timeout_error(const StreamOperation& operation) const;
  void wait_for_end(const StreamOperation& operation);
  /// After a failure there is one bound to how long streams are waited for, whatever is on how many of them.
  void wait_in_spite_of_failure(const StreamOperation& operation) noexcept;
  template <typename Action>
  auto guarded(Action action);

  std::unique_ptr<transport::StreamLinks> links_;
  Options options_;
  mutable std::mutex mutex_;
  std::optional<Error> failure_;
  std::atomic<bool> links_end_streams_{false};  ///< after a failure: nobody else has to
  std::optional<std::chrono::steady_clock::time_point> last_deadline_;  ///< after a failure
};

}  // namespace gradwire::runtime
