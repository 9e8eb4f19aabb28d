#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace gradwire::server {

/// How long a session still bears with a server that does not answer: `timeout` without progress. It belongs
/// to one thread.
class ClientPatience {
 public:
  using Clock = std::chrono::steady_clock;

  explicit ClientPatience(std::chrono::milliseconds timeout) noexcept : timeout_(timeout) {}

  /// The server answered something.
  void note_answer() noexcept;
  /// It gave some sign of life to a worker that takes part.
  void note_heard(Clock::time_point now) noexcept;
  /// Nothing was asked of the server until `now`.
  void note_idle(Clock::time_point now) noexcept { last_progress_ = now; }
  /// The present connection carried so many bytes more, either way, beats left out.
  void note_bytes(std::uint64_t bytes) noexcept;

  void begin_connection() noexcept { bytes_since_answer_ = 0; }
  void connection_lost(std::string why);
  /// What ended the last connection, if nothing was answered since.
  [[nodiscard]] const std::string& lost_by() const noexcept { return lost_by_; }

  [[nodiscard]] bool is_over(Clock::time_point now) const noexcept { return now - last_progress_ > timeout_; }
  /// When it will be, unless there is progress.
  [[nodiscard]] Clock::time_point end() const noexcept { return last_progress_ + timeout_; }

  /// Since when it has not been heard of, or has been away.
  [[nodiscard]] Clock::time_point silent_since() const noexcept { return silent_since_; }
  /// When somebody is to be told that the server has been silent for `long_enough`: once for each time.
  [[nodiscard]] Clock::time_point tell_at(std::chrono::milliseconds long_enough) const noexcept;
  void note_told() noexcept { is_told_ = true; }

  /// How long to wait before the next call: longer each time, until something is answered.
  [[nodiscard]] std::chrono::milliseconds take_pause() noexcept;

 private:
  static constexpr std::chrono::milliseconds kShortestPause{1};

  std::chrono::milliseconds timeout_;
  Clock::time_point last_progress_ = Clock::now();
  std::uint64_t bytes_since_answer_ = 0;  ///< that this connection has carried
  std::uint64_t most_bytes_ = 0;          ///< the same of the connection that carried most of them
  std::string lost_by_;
  Clock::time_point silent_since_ = Clock::now();
  bool is_away_ = false;
  bool is_told_ = false;
  std::chrono::milliseconds pause_ = kShortestPause;
};

}  // namespace gradwire::server
