#include "transport/mesh_endpoint.hpp"

#include <sched.h>

#include <algorithm>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/usable_cores.hpp"
#include "transport/sleep_times.hpp"

namespace gradwire::transport {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr unsigned kPeerShift = 16;

/// How often a polling rank looks whether local peers still live; a sleeping one learns it at once. Calls,
/// where no link needs a clock.
constexpr unsigned kHangUpCalls = 4096;
constexpr milliseconds kHangUpInterval{1};
constexpr microseconds kSpinTime{50};
constexpr int kSpinsPerClock = 32;
constexpr microseconds kQuietSpin{3};
constexpr int kYields = 4;
constexpr milliseconds kBlamePatience{500};
constexpr milliseconds kLastWordPatience{100};

/// What causes what: a death is the cause of other failures, most of all one that others report too; an abort
/// only passes it on.
constexpr int kFailure = 1;
constexpr int kDeath = 2;
constexpr int kBlamedDeath = 3;

void relax() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

}  // namespace

Patience patience_for(int ranks_here) noexcept {
  return ranks_here <= base::usable_cores() ? Patience::spin : Patience::yield;
}

MeshEndpoint::MeshEndpoint(int rank, std::vector<std::unique_ptr<PeerLink>> links,
                           std::shared_ptr<const Doorbell> bell, Patience patience, std::vector<int> hosts)
    : rank_(rank),
      links_(std::move(links)),
      hosts_(std::move(hosts)),
      sleeper_(std::move(bell)),
      patience_(patience) {
  for (const auto& link : links_) {
    if (!link) continue;
    if (auto* ring = dynamic_cast<RingLink*>(link.get())) {
      rings_.push_back(ring);
    } else {
      others_.push_back(link.get());
    }
    needs_events_ = needs_events_ || link->needs_events();
    const auto descriptors = link->descriptors();
    for (std::size_t i = 0; i < descriptors.size(); ++i) {
      sleeper_.watch(descriptors[i],
                     static_cast<std::uint32_t>(link->peer()) << kPeerShift | static_cast<std::uint32_t>(i));
    }
  }
}

MeshEndpoint::~MeshEndpoint() {
  LinkEnd died;
  died.kind = LinkEnd::Kind::died;
  end_with(died, kLastWordPatience);
}

Link& MeshEndpoint::link(int peer) { return *links_[static_cast<std::size_t>(peer)]; }

bool MeshEndpoint::progress() {
  if (ended_) return false;
  const bool moved = advance_all();
  if (moved || suspicious_) {
    suspicious_ = true;
    if (const PeerLink* failed = failed_link()) throw failed->peer_end().to_error(failed->peer());
    suspicious_ = false;
  }
  return moved;
}

bool MeshEndpoint::advance_all() {
  bool moved = false;
  for (RingLink* ring : rings_) moved = ring->advance({}) || moved;
  if (others_.empty()) {
    if (++calls_ % kHangUpCalls == 0) handle(sleeper_.poll());
    return moved;
  }
  const auto now = Clock::now();
  if (needs_events_ || now >= next_poll_) {
    handle(sleeper_.poll());
    next_poll_ = now + kHangUpInterval;
  }
  // Who moved something last is the last to move next: on an emulated link all get their turn.
  const std::size_t first = first_;
  for (std::size_t i = 0; i < others_.size(); ++i) {
    const std::size_t index = (first + i) % others_.size();
    if (!others_[index]->advance(now)) continue;
    moved = true;
    first_ = index + 1;
  }
  return moved;
}

const PeerLink* MeshEndpoint::failed_link(int known) const noexcept {
  const auto weight = [this](const PeerLink& link) {
    if (link.peer_end().kind != LinkEnd::Kind::died) return link.peer_end().is_failure() ? kFailure : 0;
    const bool is_blamed = std::any_of(links_.begin(), links_.end(), [&](const auto& other) {
      return other && other->peer_end().kind == LinkEnd::Kind::abort &&
             other->peer_end().origin == link.peer();
    });
    return is_blamed ? kBlamedDeath : kDeath;
  };
  const PeerLink* failed = nullptr;
  int heaviest = known;
  for (const auto& link : links_) {
    const int weighs = link ? weight(*link) : 0;
    if (weighs <= heaviest) continue;
    heaviest = weighs;
    failed = link.get();
  }
  return failed;
}

void MeshEndpoint::handle(std::span<const epoll_event> events) noexcept {
  for (const epoll_event& event : events) {
    PeerLink& link = *links_[event.data.u64 >> kPeerShift];
    link.on_events(event.data.u64 & ((1U << kPeerShift) - 1), event.events);
    suspicious_ = true;
  }
}

bool MeshEndpoint::has_news() noexcept {
  for (RingLink* ring : rings_) {
    if (ring->has_news({})) return true;
  }
  if (!others_.empty()) {
    const auto now = Clock::now();
    for (PeerLink* link : others_) {
      if (link->has_news(now)) return true;
    }
  }
  return suspicious_;
}

bool MeshEndpoint::spin(Clock::time_point deadline) noexcept {
  const auto ended = [&] {
    if (needs_events_) handle(sleeper_.poll());
    return woken_.load(std::memory_order_relaxed) || has_news();
  };
  if (patience_ == Patience::sleep) return false;
  if (patience_ == Patience::yield) {
    for (int i = 0; i < kYields; ++i) {
      ::sched_yield();
      if (ended()) return true;
    }
    return false;
  }
  const auto begin = Clock::now();
  const auto until = std::min(deadline, begin + kSpinTime);
  auto now = begin;
  do {
    for (int i = 0; i < kSpinsPerClock; ++i) {
      if (ended()) return true;
      relax();
    }
    now = Clock::now();
    // The kernel may have put the peer on this core: then only a yield lets it answer.
    if (now - begin > kQuietSpin) ::sched_yield();
  } while (now < until);
  return false;
}

void MeshEndpoint::wait(Clock::time_point deadline) {
  if (woken_.exchange(false) || has_news() || spin(deadline)) {
    woken_ = false;
    return;
  }
  while (true) {
    for (RingLink* ring : rings_) ring->announce_sleep();
    for (PeerLink* link : others_) link->announce_sleep();
    if (woken_.exchange(false) || has_news()) break;
    const auto now = Clock::now();
    if (now >= deadline) break;
    auto due = Clock::time_point::max();
    for (const PeerLink* link : others_) due = std::min(due, link->due(now));
    handle(sleeper_.sleep_until(
        std::min(deadline, due == Clock::time_point::max() ? due : due - kTimerLateness)));
  }
  for (RingLink* ring : rings_) ring->announce_awake();
  for (PeerLink* link : others_) link->announce_awake();
}

void MeshEndpoint::wake() noexcept {
  woken_.store(true);
  sleeper_.wake();
}

void MeshEndpoint::allow_background() const {
  for (const auto& link : links_) {
    if (link) link->allow_background();
  }
}

Error MeshEndpoint::abort(const Error& cause) noexcept {
  if (std::exchange(ended_, true)) return cause;
  Error best = cause;
  try {
    advance_all();
    end_all(blame(cause, rank_));
    // A timeout or a missing peer may have a reason that another rank is about to tell.
    const bool may_hear_better = cause.code() == ErrorCode::timeout || cause.code() == ErrorCode::peer_lost;
    flush(Clock::now() + kBlamePatience, may_hear_better);
    // Whoever is lost already stays the cause when others go after it, unless they are blamed for it.
    const bool is_known = cause.code() == ErrorCode::peer_lost && cause.peer();
    const PeerLink* failed = failed_link(is_known ? kDeath : 0);
    const bool is_told =
        failed == nullptr || (cause.code() == ErrorCode::peer_lost && cause.peer() == failed->peer());
    if (may_hear_better && !is_told) best = failed->peer_end().to_error(failed->peer());
  } catch (...) {
    // Out of memory, most likely: the cause has to do.
  }
  for (const auto& link : links_) {
    if (link) link->shut();
  }
  return best;
}

void MeshEndpoint::close(std::chrono::milliseconds patience) noexcept {
  LinkEnd goodbye;
  goodbye.kind = LinkEnd::Kind::goodbye;
  end_with(goodbye, patience);
}

void MeshEndpoint::end_with(const LinkEnd& end, milliseconds patience) noexcept {
  if (std::exchange(ended_, true)) return;
  end_all(end);
  try {
    flush(Clock::now() + patience, false);
  } catch (...) {
    // The same: what was not flushed is lost, as it is when patience ends.
  }
  for (const auto& link : links_) {
    if (link) link->shut();
  }
}

void MeshEndpoint::end_all(const LinkEnd& end) noexcept {
  for (const auto& link : links_) {
    if (link) link->send_end(end);
  }
}

void MeshEndpoint::flush(Clock::time_point deadline, bool until_blamed) {
  const auto all = [this](auto condition) {
    return std::all_of(links_.begin(), links_.end(),
                       [&](const auto& link) { return !link || condition(*link); });
  };
  while (true) {
    advance_all();
    const bool flushed = all([](PeerLink& link) { return link.is_flushed(); });
    const bool blamed = failed_link() != nullptr ||
                        all([](PeerLink& link) { return link.peer_end().kind != LinkEnd::Kind::open; });
    const auto now = Clock::now();
    if ((flushed && (blamed || !until_blamed)) || now >= deadline) return;
    handle(sleeper_.sleep_until(std::min(deadline, now + kFlushStep)));
  }
}

}  // namespace gradwire::transport
