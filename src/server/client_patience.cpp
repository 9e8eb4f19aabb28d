#include "server/client_patience.hpp"

#include <algorithm>
#include <utility>

namespace gradwire::server {

void ClientPatience::note_answer() noexcept {
  last_progress_ = Clock::now();
  pause_ = kShortestPause;
  bytes_since_answer_ = most_bytes_ = 0;
  lost_by_.clear();
}

void ClientPatience::note_heard(Clock::time_point now) noexcept {
  silent_since_ = now;
  is_away_ = is_told_ = false;
}

void ClientPatience::connection_lost(std::string why) {
  lost_by_ = std::move(why);
  if (!is_away_) silent_since_ = Clock::now();
  is_away_ = true;
}

ClientPatience::Clock::time_point ClientPatience::tell_at(
    std::chrono::milliseconds long_enough) const noexcept {
  return is_told_ ? Clock::time_point::max() : silent_since_ + long_enough;
}

void ClientPatience::note_bytes(std::uint64_t bytes) noexcept {
  bytes_since_answer_ += bytes;
  // What a connection carries again after another one was cut is no progress, but what lies beyond is.
  if (bytes_since_answer_ <= most_bytes_) return;
  most_bytes_ = bytes_since_answer_;
  last_progress_ = Clock::now();
}

std::chrono::milliseconds ClientPatience::take_pause() noexcept {
  constexpr std::chrono::milliseconds kLongestPause{200};
  return std::exchange(pause_, std::min(pause_ * 2, kLongestPause));
}

}  // namespace gradwire::server
