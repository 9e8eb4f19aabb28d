#pragma once

#include <memory>
#include <optional>
#include <string>

#include "transport/peer_link.hpp"

namespace gradwire::transport {

/// A caller's link as its service shows it: nothing is thrown for the end of the caller's stream, whatever it
/// is. Frames that came before it can be taken; frames that are sent after it go nowhere, so that a service
/// which takes no requests before it got rid of its answers comes to that end, too. Not thread-safe.
class CallerLink final : public Link {
 public:
  /// `from` names the caller in errors.
  CallerLink(std::unique_ptr<PeerLink> link, std::string from) noexcept;

  /// Throws Error(invalid_argument) for more than a frame may carry.
  bool try_send(const wire::Header& header, std::span<const std::byte> payload) override;
  [[nodiscard]] std::uint64_t completed() const noexcept override { return link_->completed() + dropped_; }
  const Frame* front() override;
  void pop() override { link_->pop(); }
  [[nodiscard]] std::uint64_t wire_bytes_sent() const noexcept override { return link_->wire_bytes_sent(); }
  [[nodiscard]] const char* kind() const noexcept override { return link_->kind(); }

  /// Whether the caller's stream has ended. Gives all payloads back when that comes to light, and tells a
  /// caller that sent garbage.
  bool has_ended();
  /// Whether it has ended and all its frames have been taken.
  [[nodiscard]] bool is_over(Clock::time_point now);
  /// Why; none for a goodbye.
  [[nodiscard]] std::optional<Error> reason() const;
  /// Whether frames wait to be sent: after a goodbye they would be lost.
  [[nodiscard]] bool has_unsent() const noexcept { return link_->completed() != accepted_; }

  [[nodiscard]] PeerLink& inner() const noexcept { return *link_; }
  [[nodiscard]] std::unique_ptr<PeerLink> release() noexcept { return std::move(link_); }

 private:
  std::unique_ptr<PeerLink> link_;
  std::string from_;
  std::uint64_t accepted_ = 0;
  std::uint64_t dropped_ = 0;  ///< not accepted by link_
  bool has_ended_ = false;
  bool is_over_ = false;
};

}  // namespace gradwire::transport
