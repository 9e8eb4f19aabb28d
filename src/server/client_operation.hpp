#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/work_source.hpp"
#include "gradwire/error.hpp"

namespace gradwire::server {

/// What a Work of a client waits for: so many requests, one to each server concerned. The sessions' threads
/// end them. Thread-safe.
class ClientOperation final : public base::WorkSource {
 public:
  /// One that is a part of `whole` counts there as one request.
  explicit ClientOperation(std::size_t requests, std::shared_ptr<ClientOperation> whole = nullptr) noexcept
      : whole_(std::move(whole)), open_(requests) {}

  void succeed_one();
  /// The first failure is the operation's.
  void fail_one(const Error& error);

  [[nodiscard]] bool work_done(const void* operation, std::uint64_t sequence) const noexcept override;
  bool wait_for_work(void* operation, std::uint64_t sequence,
                     std::optional<Clock::time_point> deadline) override;

  /// Of a whole operation.
  [[nodiscard]] static Work work_of(std::shared_ptr<ClientOperation> operation) noexcept;

 private:
  void end_one(std::unique_lock<std::mutex> lock);

  const std::shared_ptr<ClientOperation> whole_;
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  std::size_t open_;
  std::optional<Error> failure_;
};

}  // namespace gradwire::server
