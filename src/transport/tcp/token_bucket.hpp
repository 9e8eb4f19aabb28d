#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>

namespace gradwire::transport {

/// One direction of an emulated link, in virtual time: `free_at_` is when the link has carried all bytes
/// taken so far, and what lies between it and now is credit. After silence the credit is a burst of two
/// packets; while somebody waits, being woken late costs nothing up to a millisecond. Thread-safe; a thread's
/// times never go back.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `rate` in bytes a second, from kMinLinkRate to kMaxLinkRate or not far from it: what is computed here
  /// fits into integers for these. `head_start` is the least burst.
  explicit TokenBucket(double rate, std::chrono::nanoseconds head_start = {}) noexcept;

  /// Somebody starts or stops waiting to move bytes; calls nest.
  void begin_waiting() noexcept;
  void end_waiting() noexcept;
  /// Whether nothing was taken since somebody began to wait.
  [[nodiscard]] bool is_silent() const noexcept;

  /// How many bytes may move now, where `wanted` are there or expected: nothing below min(wanted, quantum),
  /// lest they dribble, but for the burst after silence.
  [[nodiscard]] std::size_t allowed(std::size_t wanted, Time now) const noexcept;
  /// When allowed() stops being 0.
  [[nodiscard]] Time when(std::size_t wanted) const noexcept;
  /// The first ones after silence may have moved a while ago: who is told of them late is not behind for the
  /// rest of the message.
  void take(std::size_t bytes, Time moved) noexcept;

 private:
  using Nanos = std::chrono::duration<double, std::nano>;

  [[nodiscard]] Nanos cost(std::size_t bytes) const noexcept {
    return Nanos(static_cast<double>(bytes) * nanos_per_byte_);
  }
  [[nodiscard]] Nanos credit(Time now) const noexcept;
  [[nodiscard]] Nanos needed(std::size_t wanted) const noexcept;

  mutable std::mutex mutex_;  ///< of what changes
  double nanos_per_byte_;
  Nanos burst_;
  Nanos catch_up_;
  std::size_t quantum_;
  Time epoch_;
  Nanos free_at_{0};  ///< since epoch_
  int waiting_ = 0;
  bool silent_ = true;
};

/// Both directions of a host's emulated link.
struct LinkRate {
  /// From a send on a core that slept to the kernel's receiving end: the link itself has no latency.
  static constexpr std::chrono::microseconds kArrivalDelay{85};

  /// What the last bytes of a message cost in waking their reader and checking them.
  static constexpr std::chrono::microseconds kDeliveryDelay{38};

  explicit LinkRate(double rate) noexcept : out(rate, kDeliveryDelay), in(rate, kArrivalDelay) {}
  TokenBucket out;
  TokenBucket in;
};

}  // namespace gradwire::transport
