#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "gradwire/error.hpp"

namespace gradwire {

/// Where ranks meet whose streams are threads: what their sends, receives and sums do when their turn comes
/// on the stream. A send waits for its receive, as NCCL's does where it has no buffer left.
class EmulatedRoom {
 public:
  explicit EmulatedRoom(int ranks)
      : sums_(static_cast<std::size_t>(ranks)), aborted_(static_cast<std::size_t>(ranks)) {}

  /// What is sent. It lies where it is until somebody has taken it, as with NCCL.
  struct Offer {
    const std::byte* bytes = nullptr;
    std::size_t count = 0;
    bool taken = false;
  };
  using Route = std::pair<int, int>;

  struct Receive {
    Route route;
    std::byte* bytes = nullptr;
    std::size_t count = 0;
  };

  /// All of it at once. Returns when all of it is done, or `rank` has aborted.
  void exchange(int rank, const std::vector<std::pair<Route, Offer*>>& sends,
                const std::vector<Receive>& receives) {
    std::unique_lock lock(mutex_);
    for (const auto& [route, offer] : sends) offers_[route].push_back(offer);
    changed_.notify_all();
    for (const Receive& receive : receives) {
      auto& queue = offers_[receive.route];
      if (!wait(lock, rank, [&] { return !queue.empty(); })) break;
      Offer& offer = *queue.front();
      queue.pop_front();
      if (offer.count != receive.count) error_.emplace(ErrorCode::system, "a receive of another size", "");
      std::memcpy(receive.bytes, offer.bytes, std::min(offer.count, receive.count));
      offer.taken = true;
      changed_.notify_all();
    }
    for (const auto& [route, offer] : sends) {
      if (!wait(lock, rank, [taken = &offer->taken] { return *taken; })) std::erase(offers_[route], offer);
    }
  }

  /// In the order of the ranks.
  void sum(int rank, float* values, std::size_t count, bool average) {
    std::unique_lock lock(mutex_);
    sums_[static_cast<std::size_t>(rank)] = values;
    const std::uint64_t turn = turn_;
    if (++arrived_ == sums_.size()) {
      for (std::size_t i = 0; i < count; ++i) {
        float total = sums_[0][i];
        for (std::size_t other = 1; other < sums_.size(); ++other) total += sums_[other][i];
        if (average) total /= static_cast<float>(sums_.size());
        for (float* each : sums_) each[i] = total;
      }
      arrived_ = 0;
      ++turn_;
      changed_.notify_all();
    }
    if (!wait(lock, rank, [&] { return turn_ != turn; })) --arrived_;
  }

  void fail(const Error& error) {
    const std::lock_guard lock(mutex_);
    error_ = error;
  }
  void check() {
    const std::lock_guard lock(mutex_);
    if (error_) throw Error(*error_);
  }
  /// The other ranks still wait for this one.
  void abort(int rank) noexcept {
    const std::lock_guard lock(mutex_);
    aborted_[static_cast<std::size_t>(rank)] = true;
    changed_.notify_all();
  }

 private:
  /// False: it was aborted before.
  template <typename Condition>
  bool wait(std::unique_lock<std::mutex>& lock, int rank, Condition condition) {
    changed_.wait(lock, [&] { return condition() || aborted_[static_cast<std::size_t>(rank)]; });
    return condition();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Route, std::deque<Offer*>> offers_;
  std::vector<float*> sums_;
  std::size_t arrived_ = 0;
  std::uint64_t turn_ = 0;
  std::vector<bool> aborted_;  ///< [rank]
  std::optional<Error> error_;
};

}  // namespace gradwire
