#include "transport/service/caller_link.hpp"

#include <fmt/format.h>

#include <utility>

#include "transport/service/service_protocol.hpp"

namespace gradwire::transport {

CallerLink::CallerLink(std::unique_ptr<PeerLink> link, std::string from) noexcept
    : link_(std::move(link)), from_(std::move(from)) {}

bool CallerLink::has_ended() {
  const LinkEnd& end = link_->peer_end();
  if (has_ended_ || end.kind == LinkEnd::Kind::open) return has_ended_;
  has_ended_ = true;
  const bool sent_garbage = end.kind == LinkEnd::Kind::garbage;
  link_->send_end(sent_garbage ? abort_for(ErrorCode::corrupt_frame, kCallerRank)
                               : abort_for(ErrorCode::peer_lost, kServiceRank));
  return true;
}

bool CallerLink::try_send(const wire::Header& header, std::span<const std::byte> payload) {
  if (!has_ended()) {
    try {
      const bool taken = link_->try_send(header, payload);
      accepted_ += taken ? 1 : 0;
      return taken;
    } catch (const Error&) {
      if (!has_ended()) throw;
    }
  }
  ++dropped_;
  return true;
}

const Frame* CallerLink::front() {
  if (is_over_) return nullptr;
  try {
    return link_->front();
  } catch (const Error&) {
    is_over_ = true;  // peer_end() says why
    has_ended();
    return nullptr;
  }
}

bool CallerLink::is_over(Clock::time_point now) {
  if (is_over_ || !has_ended() || front() != nullptr) return is_over_;
  const LinkEnd& end = link_->peer_end();
  // What a caller sent before it died may still be on its way through the kernel or an emulated link; after
  // an abort or garbage nobody waits for more.
  const bool may_come = link_->has_news(now) || link_->due(now) != Clock::time_point::max();
  if (end.is_failure() && !(end.kind == LinkEnd::Kind::died && may_come)) is_over_ = true;
  return is_over_;
}

std::optional<Error> CallerLink::reason() const {
  const LinkEnd& end = link_->peer_end();
  switch (end.kind) {
    case LinkEnd::Kind::open:
    case LinkEnd::Kind::goodbye: return std::nullopt;
    case LinkEnd::Kind::garbage:
      if (end.garbage) return end.garbage;
      break;
    case LinkEnd::Kind::abort:
      return Error(end.to_error(kCallerRank).code(),
                   fmt::format("{} gave up: {}", from_, to_string(end.code)), "see its own message",
                   kCallerRank);
    case LinkEnd::Kind::died: break;
  }
  return Error(ErrorCode::peer_lost,
               fmt::format("{} died{}{}", from_, end.detail.empty() ? "" : ": ", end.detail),
               "look for its last message", kCallerRank);
}

}  // namespace gradwire::transport
