#pragma once

#include <sys/epoll.h>

#include <array>
#include <memory>
#include <span>

#include "base/unique_fd.hpp"
#include "transport/doorbell.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {

/// Where a rank sleeps until something happens on a descriptor, its bell rings, or a time comes. Not
/// thread-safe.
class Sleeper {
 public:
  /// `bell` is what the peers ring. Throws Error(system).
  explicit Sleeper(std::shared_ptr<const Doorbell> bell);

  /// Reports what happens there under `tag`, edge-triggered. The two highest tags are taken. Throws
  /// Error(system).
  void watch(int fd, std::uint64_t tag) const;
  /// Reports it no longer, also where a forked child keeps what is behind a descriptor that is closed here.
  void forget(int fd) const noexcept;

  /// What has happened, without waiting, by `data.u64` as tag; valid until the next call of any of these.
  [[nodiscard]] std::span<const epoll_event> poll() noexcept { return wait_for(0); }
  /// The same, and sleeps until something happens or the deadline passes, exactly if that is near.
  [[nodiscard]] std::span<const epoll_event> sleep_until(Clock::time_point deadline) noexcept;

  /// Ends a sleep, from any thread.
  void wake() const noexcept { bell_->ring(); }

 private:
  void add(int fd, std::uint32_t events, std::uint64_t tag) const;
  [[nodiscard]] std::span<const epoll_event> wait_for(int timeout_ms) noexcept;

  std::shared_ptr<const Doorbell> bell_;
  base::UniqueFd epoll_;
  base::UniqueFd timer_;
  std::array<epoll_event, 64> events_{};
};

}  // namespace gradwire::transport
