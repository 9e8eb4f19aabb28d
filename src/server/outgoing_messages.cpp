#include "server/outgoing_messages.hpp"

#include <utility>

namespace gradwire::server {

void OutgoingMessages::add(Outgoing message) {
  const BodyFrames frames(message.body, message.head.number, sender_);
  messages_.push_back({std::move(message), frames});
}

bool OutgoingMessages::pump(transport::Link& link) {
  release(link.completed());
  while (sent_ < messages_.size()) {
    if (!send(messages_[sent_], link)) return false;
    messages_[sent_].last_frame = frames_;
    ++sent_;
  }
  release(link.completed());
  return true;
}

bool OutgoingMessages::send(Message& message, transport::Link& link) {
  if (!message.head_sent) {
    if (!link.try_send(head_header(message.what.head.number, sender_), message.what.head.bytes)) return false;
    message.head_sent = true;
    ++frames_;
  }
  for (BodyFrames& frames = message.frames; !frames.is_done(); frames.next()) {
    const auto payload = message.what.payloads[frames.payload()];
    if (!link.try_send(frames.header(), payload.subspan(frames.offset(), frames.bytes()))) return false;
    ++frames_;
  }
  return true;
}

void OutgoingMessages::release(std::uint64_t completed) noexcept {
  while (sent_ > 0 && messages_.front().last_frame <= completed) {
    messages_.pop_front();
    --sent_;
  }
}

}  // namespace gradwire::server
