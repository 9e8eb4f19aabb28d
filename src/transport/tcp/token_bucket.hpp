#pragma once

#include <chrono>
#include <cstddef>

namespace gradwire::transport {

/// One direction of an emulated link, in virtual time: `free_at_` is when the link has carried all bytes
/// taken so far, and what lies between it and now is credit. After silence the credit is a burst of two
/// packets; while somebody waits, being woken late costs nothing up to a millisecond. Not thread-safe; times
/// never go back.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `rate` in bytes a second, above 0. `head_start` is added to the burst: who is told of the first bytes
  /// only after they came must not be behind for the rest of the message.
  explicit TokenBucket(double rate, std::chrono::nanoseconds head_start = {}) noexcept;

  /// Somebody starts or stops waiting to move bytes; calls nest.
  void begin_waiting(Time now) noexcept;
  void end_waiting() noexcept;

  /// How many bytes may move now, where `wanted` are there or expected: nothing below min(wanted, quantum),
  /// lest they dribble, but for the burst after silence.
  [[nodiscard]] std::size_t allowed(std::size_t wanted, Time now) const noexcept;
  /// When allowed() stops being 0.
  [[nodiscard]] Time when(std::size_t wanted) const noexcept;
  void take(std::size_t bytes, Time now) noexcept;

 private:
  using Nanos = std::chrono::duration<double, std::nano>;

  [[nodiscard]] Nanos cost(std::size_t bytes) const noexcept {
    return Nanos(static_cast<double>(bytes) * nanos_per_byte_);
  }
  [[nodiscard]] Nanos credit(Time now) const noexcept;
  [[nodiscard]] Nanos needed(std::size_t wanted) const noexcept;

  double nanos_per_byte_;
  Nanos burst_;
  Nanos catch_up_;
  std::size_t quantum_;
  Time epoch_;
  Nanos free_at_{0};  ///< since epoch_
  int waiting_ = 0;
  bool silent_before_ = true;  ///< nothing was taken since somebody began to wait
};

/// Both directions of a rank's emulated link.
struct LinkRate {
  /// A reader's wake-up and the kernel's work before it take about that long.
  static constexpr std::chrono::microseconds kArrivalDelay{100};

  explicit LinkRate(double rate) noexcept : out(rate), in(rate, kArrivalDelay) {}
  TokenBucket out;
  TokenBucket in;
};

}  // namespace gradwire::transport
