#pragma once

#include "transport/link_end.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {

/// What an endpoint asks of its links beyond what it shows to others. Not thread-safe.
class PeerLink : public Link {
 public:
  explicit PeerLink(int peer) noexcept : peer_(peer) {}

  /// Moves what can be moved at `now`; true when anything did, or the end came to light.
  virtual bool advance(Clock::time_point now) = 0;
  /// Whether advance() would move something now, or frames arrived that nobody has looked at.
  [[nodiscard]] virtual bool has_news(Clock::time_point now) noexcept = 0;
  /// When has_news() turns true by the passing of time alone; Clock::time_point::max() for never.
  [[nodiscard]] virtual Clock::time_point due(Clock::time_point now) const noexcept = 0;
  /// This rank is going to sleep and must be woken by news; check has_news() after it.
  virtual void announce_sleep() noexcept = 0;
  virtual void announce_awake() noexcept = 0;

  /// Whether advance() relies on on_events(). Where not, descriptors do no more than end a sleep.
  [[nodiscard]] virtual bool needs_events() const noexcept = 0;
  /// What descriptors number `index` was reported ready for (EPOLLIN and so on).
  virtual void on_events(std::size_t index, std::uint32_t events) noexcept = 0;
  /// The descriptors to watch, edge-triggered.
  [[nodiscard]] virtual std::vector<int> descriptors() const = 0;

  /// No frame follows after those already accepted; with an abort, not even those.
  virtual void send_end(const LinkEnd& end) noexcept = 0;
  /// Whether everything sent has left this process for good, so that closing loses nothing.
  [[nodiscard]] virtual bool is_flushed() noexcept = 0;

  /// Lets go of sockets and of all payloads lent; nothing moves any more.
  virtual void shut() noexcept = 0;

  /// See Endpoint.
  virtual void allow_background() const {}

  [[nodiscard]] int peer() const noexcept { return peer_; }
  /// How the peer's stream ended, known as soon as possible, even while its frames wait here.
  [[nodiscard]] const LinkEnd& peer_end() const noexcept { return peer_end_; }

 protected:
  /// Throws Error(invalid_argument) for more than a frame may carry.
  void check_size(std::size_t payload_bytes) const;

  LinkEnd peer_end_;

 private:
  int peer_;
};

}  // namespace gradwire::transport
