#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "server/message_body.hpp"
#include "server/messages.hpp"
#include "transport/transport.hpp"

namespace gradwire::server {

/// Takes messages off one link, without blocking: a head, then the data frames that follow it. Only the
/// receiver knows from the head what these hold (a shard's size, a codec), so it says so by expect(). What
/// does not fit throws Error(corrupt_frame); so does whatever the link throws. After that the link is done
/// for.
class IncomingMessages {
 public:
  /// `from` is the sender's name in errors: "worker 3".
  IncomingMessages(Side sender, std::string from) : sender_(sender), from_(std::move(from)) {}

  /// A worker is known by number only once it has joined.
  void rename(std::string from) { from_ = std::move(from); }

  /// The next head, once it is there. Only while no body is due.
  [[nodiscard]] std::optional<Request> take_request(transport::Link& link);
  [[nodiscard]] std::optional<Answer> take_answer(transport::Link& link);

  /// What follows the head that was taken last. Throws Error(unsupported) for a codec that cannot be cut.
  void expect(const Body& body) { frames_ = {body, number_, sender_}; }
  /// Whether all of it has been taken.
  [[nodiscard]] bool is_whole() const noexcept { return frames_.is_done(); }

  /// A frame of the body: the elements from `first` on of one of its payloads, valid for its codec.
  struct Part {
    std::uint32_t payload = 0;
    std::uint64_t first = 0;
    std::size_t count = 0;
    std::size_t offset = 0;  ///< of `bytes` in the payload
    std::span<const std::byte> bytes;
  };
  /// The oldest one, lent until pop(); nothing while none has arrived. Only while a body is due.
  [[nodiscard]] std::optional<Part> front(transport::Link& link);
  void pop(transport::Link& link);

  /// Copies what has arrived of the body to its place in `destination`, which is as large as all its payloads
  /// together. True when the body is whole.
  bool take_into(transport::Link& link, std::span<std::byte> destination);

 private:
  template <typename Message>
  std::optional<Message> take_head(transport::Link& link,
                                   Message (*read)(std::span<const std::byte> bytes, std::string_view from));
  void check(const transport::Frame& frame, const wire::Header& due) const;

  Side sender_;
  std::string from_;
  std::uint64_t number_ = 0;  ///< of the last head
  BodyFrames frames_;
};

}  // namespace gradwire::server
