#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "server/message_body.hpp"
#include "server/messages.hpp"
#include "transport/transport.hpp"

namespace gradwire::server {

/// A message to be sent.
struct Outgoing {
  Head head;
  Body body{};                                         ///< without payloads: the head alone
  std::vector<std::span<const std::byte>> payloads{};  ///< as the body says
  std::shared_ptr<const void> owner{};                 ///< of the payloads, kept until nobody needs them
};

/// What is on its way over one link, in order. Nothing else may send there, ever: the link's count of
/// completed frames has to be ours. The link ends before this does, since it may still read what it was lent.
class OutgoingMessages {
 public:
  explicit OutgoingMessages(Side sender) noexcept : sender_(sender) {}

  /// Throws Error(unsupported) for a codec whose payloads cannot be cut.
  void add(Outgoing message);

  /// Hands to the link what it takes, without blocking, and lets go of what it no longer needs. True when it
  /// has accepted all. Throws what the link throws.
  bool pump(transport::Link& link);

  /// Messages that the link has not taken whole, or still reads.
  [[nodiscard]] std::size_t size() const noexcept { return messages_.size(); }
  /// Those that it has not taken whole.
  [[nodiscard]] std::size_t unsent() const noexcept { return messages_.size() - sent_; }

 private:
  struct Message {
    Outgoing what;
    BodyFrames frames;
    bool head_sent = false;
    std::uint64_t last_frame = 0;  ///< counted from 1, once all are sent
  };

  bool send(Message& message, transport::Link& link);
  void release(std::uint64_t completed) noexcept;

  Side sender_;
  std::deque<Message> messages_;
  std::size_t sent_ = 0;      ///< of messages_, whole
  std::uint64_t frames_ = 0;  ///< accepted by the link so far
};

}  // namespace gradwire::server
