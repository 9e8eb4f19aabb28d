#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/work_source.hpp"
#include "collectives/host_executor.hpp"
#include "gradwire/communicator.hpp"
#include "runtime/operation.hpp"
#include "runtime/positions.hpp"
#include "transport/transport.hpp"

namespace gradwire::runtime {

/// What stands behind a Communicator: its links, its operations in flight, and whoever drives them.
/// One thread at a time is the driver: it alone touches the endpoint and the executors. Threads that wait
/// become the driver when there is none, and otherwise sleep until their operation has ended. Submitting only
/// queues, and wakes the driver.
class Engine final : public base::WorkSource, public std::enable_shared_from_this<Engine> {
 public:
  using Clock = transport::Clock;

  explicit Engine(CommunicatorOptions options);
  ~Engine() override;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] int rank() const noexcept { return options_.rank; }
  [[nodiscard]] int world_size() const noexcept { return options_.world_size; }
  /// See Communicator::hosts(); empty for a rank alone.
  [[nodiscard]] std::span<const int> hosts() const noexcept {
    return endpoint_ ? std::span(endpoint_->hosts()) : std::span<const int>();
  }
  [[nodiscard]] const CommunicatorOptions& options() const noexcept { return options_; }

  /// An operation of this communicator's ranks, not run yet.
  [[nodiscard]] std::shared_ptr<Operation> build(collectives::Collective collective,
                                                 std::span<const OperationTensor> tensors,
                                                 const OperationOptions& options) const;
  /// An operation for a call without a plan: built, or taken from those that are idle and have the same
  /// shape.
  std::shared_ptr<Operation> cached(collectives::Collective collective,
                                    std::span<const OperationTensor> tensors,
                                    const OperationOptions& options);

  /// Throws the failure of the communicator if it has failed, invalid_argument when the operation is still
  /// running.
  Work submit(const std::shared_ptr<Operation>& operation);

  [[nodiscard]] bool work_done(const void* operation, std::uint64_t sequence) const noexcept override;
  bool wait_for_work(void* work, std::uint64_t sequence, std::optional<Clock::time_point> deadline) override;

  /// See Communicator::abort().
  void abort() noexcept;

  void start_progress_thread();
  /// For the next communicator that is split off with this color: see split_id().
  [[nodiscard]] std::uint32_t id_of_split(std::uint32_t color);
  [[nodiscard]] Traffic traffic() const;
  [[nodiscard]] std::string transport_to(int peer) const;

 private:
  /// Drives until `enough` or the deadline. Called by the driver without the mutex.
  template <typename Enough>
  void drive(Enough enough, std::optional<Clock::time_point> deadline) noexcept;
  void drive_to_failure() noexcept;
  bool pass();
  bool take_submissions();
  bool pump();
  void retire_finished();
  [[nodiscard]] bool awaits_device() noexcept;
  void run_progress_thread();

  // engine_failure.cpp
  void fail(const std::exception_ptr& thrown) noexcept;
  [[nodiscard]] static Error to_error(const std::exception_ptr& thrown);
  /// Tells the peers, and returns what the callers here are told.
  [[nodiscard]] Error end_with(const Error& cause);
  void throw_failure() const;
  [[nodiscard]] Error timeout_error() const;
  /// `first` is the rank whose patience ended first.
  [[nodiscard]] Error explain_timeout(int first) const;
  [[nodiscard]] Error explain_mismatch(const Error& cause) const;
  /// Says that this rank and `peer` submitted as many operations, but others; nullopt unless they did.
  [[nodiscard]] std::optional<Error> disagreement(const Positions& positions, int peer) const;
  [[nodiscard]] Positions exchange() const;

  CommunicatorOptions options_;
  std::unique_ptr<transport::Endpoint> endpoint_;  ///< null when alone

  // Shared between threads, under the mutex.
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool driving_ = false;
  std::vector<std::shared_ptr<Operation>> submitted_;
  std::uint32_t next_number_ = 0;
  std::uint64_t order_hash_ = 0;
  Traffic traffic_;
  std::optional<Error> failure_;
  std::vector<std::shared_ptr<Operation>> cache_;
  std::uint32_t splits_ = 0;

  // Read without the mutex.
  std::atomic<bool> has_submissions_{false};
  std::atomic<bool> failed_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> abort_asked_{false};

  // The driver's.
  std::vector<std::shared_ptr<Operation>> active_;
  std::vector<collectives::Channel> channels_;
  std::vector<char> receive_blocked_;  ///< [peer] an earlier operation has yet to take its frames
  std::vector<char> send_blocked_;
  Clock::duration stalled_{};   ///< time without progress
  Clock::time_point looked_{};  ///< when that was last added to; the epoch: since then something moved
  std::atomic<std::size_t> in_flight_{0};

  std::thread progress_thread_;
};

}  // namespace gradwire::runtime
