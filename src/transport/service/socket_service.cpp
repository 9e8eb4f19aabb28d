#include "transport/service/socket_service.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "transport/service/service_protocol.hpp"
#include "transport/sleep_times.hpp"

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

/// For a caller to take its last words.
constexpr milliseconds kLastWordsPatience{1000};

}  // namespace

SocketService::SocketService(const ServiceOptions& options, const base::HostPort& place)
    : options_(options),
      bell_(std::make_shared<const Doorbell>()),
      rate_(options.link_rate > 0 ? std::make_shared<LinkRate>(options.link_rate) : nullptr),
      sleeper_(bell_),
      reception_(options_, place, sleeper_),
      address_(address_for_callers(reception_.address())) {}

SocketService::~SocketService() = default;

bool SocketService::progress() {
  if (closed_) return false;
  bool moved = handle(sleeper_.poll());
  suspicious_ = false;
  const auto now = Clock::now();
  moved = reception_.advance(now) || moved;
  moved = admit_guests() || moved;
  moved = advance_links(now) || moved;
  return advance_leaving(now) || moved;
}

bool SocketService::handle(std::span<const epoll_event> events) {
  for (const epoll_event& event : events) {
    suspicious_ = true;
    const EventTag tag = EventTag::from_word(event.data.u64);
    if (const auto caller = callers_.find(tag.id); caller != callers_.end()) {
      caller->second.inner().on_events(tag.index, event.events);
      continue;
    }
    const auto leaving = std::find_if(leaving_.begin(), leaving_.end(),
                                      [&](const Leaving& each) { return each.id == tag.id; });
    if (leaving != leaving_.end()) {
      leaving->link->on_events(tag.index, event.events);
    } else {
      reception_.on_events(tag, event.events);
    }
  }
  return !events.empty();
}

bool SocketService::admit_guests() {
  auto guests = reception_.take_guests();
  for (Guest& guest : guests) {
    try {
      admit(std::move(guest));
    } catch (const Error&) {
      // Memory or descriptors are short. The caller sees a hang-up instead of an answer, and tries again.
    }
  }
  return !guests.empty();
}

void SocketService::admit(Guest guest) {
  const bool shm = guest.meeting.shm;
  CallerLink caller(make_service_link(std::move(guest.meeting), options_, kServiceRank, rate_), guest.from);
  // The sockets, in the order of the hellos' numbers.
  const auto descriptors = caller.inner().descriptors();
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    sleeper_.watch(descriptors[i], EventTag{guest.id, i}.word());
  }
  callers_.emplace(guest.id, std::move(caller));
  arrivals_.push_back(guest.id);
  // Last, so that whoever got an answer has been let in.
  const std::array<int, 1> passed{bell_->fd()};
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    say_hello(descriptors[i],
              service_hello(options_, kServiceRank, shm, static_cast<std::uint16_t>(i), guest.token),
              std::span(passed).first(shm ? 1 : 0));
  }
}

bool SocketService::advance_links(Clock::time_point now) {
  // Who moved something last is the last to move next: on an emulated link all get their turn.
  bool moved = false;
  CallerId next = first_;
  const auto advance = [&](CallerLinks::iterator begin, CallerLinks::iterator end) {
    for (auto each = begin; each != end; ++each) {
      if (!each->second.inner().advance(now)) continue;
      moved = true;
      next = each->first + 1;
    }
  };
  const auto first = callers_.lower_bound(first_);
  advance(first, callers_.end());
  advance(callers_.begin(), first);
  first_ = next;
  return moved;
}

bool SocketService::advance_leaving(Clock::time_point now) {
  const auto gone = std::erase_if(leaving_, [&](Leaving& each) {
    each.link->advance(now);
    if (!each.link->is_flushed() && now < each.deadline) return false;
    shut(*each.link);
    return true;
  });
  return gone > 0;
}

std::vector<CallerId> SocketService::arrivals() { return std::exchange(arrivals_, {}); }

std::vector<Departure> SocketService::departures() {
  std::vector<Departure> gone;
  const auto now = Clock::now();
  for (auto each = callers_.begin(); each != callers_.end();) {
    auto& [id, caller] = *each;
    const bool is_known = std::find(arrivals_.begin(), arrivals_.end(), id) == arrivals_.end();
    if (!is_known || !caller.is_over(now)) {
      ++each;
      continue;
    }
    gone.push_back({id, caller.reason()});
    let_go(id, caller.release());
    each = callers_.erase(each);
  }
  return gone;
}

Link& SocketService::link(CallerId caller) { return find(caller); }

bool SocketService::has_ended(CallerId caller) { return find(caller).has_ended(); }

CallerLink& SocketService::find(CallerId caller) {
  const auto found = callers_.find(caller);
  if (found != callers_.end()) return found->second;
  throw Error(ErrorCode::invalid_argument, fmt::format("caller {} is not here", caller),
              "use links between arrivals() and departures() or drop()");
}

void SocketService::drop(CallerId caller, const std::optional<Error>& cause) noexcept {
  const auto found = callers_.find(caller);
  if (found == callers_.end()) return;
  std::erase(arrivals_, caller);
  LinkEnd last_words;
  last_words.kind = LinkEnd::Kind::goodbye;
  if (cause || found->second.has_unsent()) {
    last_words = abort_for(cause ? cause->code() : ErrorCode::peer_lost, kServiceRank);
  }
  found->second.inner().send_end(last_words);
  let_go(caller, found->second.release());
  callers_.erase(found);
}

/// What was said last goes out, with some patience.
void SocketService::let_go(CallerId id, std::unique_ptr<PeerLink> link) noexcept {
  try {
    if (link->is_flushed()) {
      shut(*link);
    } else {
      leaving_.push_back({id, std::move(link), Clock::now() + kLastWordsPatience});
    }
  } catch (...) {
    // Out of memory: the link goes without last words.
  }
}

void SocketService::shut(PeerLink& link) const {
  for (const int descriptor : link.descriptors()) sleeper_.forget(descriptor);
  link.shut();
}

bool SocketService::has_news(Clock::time_point now) {
  return suspicious_ || !arrivals_.empty() || reception_.due() <= now ||
         std::any_of(callers_.begin(), callers_.end(), [now](auto& each) {
           return each.second.inner().has_news(now) || each.second.is_over(now);
         });
}

Clock::time_point SocketService::due(Clock::time_point now) const noexcept {
  auto when = Clock::time_point::max();
  for (const auto& [id, caller] : callers_) when = std::min(when, caller.inner().due(now));
  if (when != Clock::time_point::max()) when -= kTimerLateness;
  if (!leaving_.empty()) when = std::min(when, Clock::time_point(now + kFlushStep));
  return std::min(when, reception_.due());
}

void SocketService::wait(Clock::time_point deadline) {
  if (closed_) return;
  while (!woken_.exchange(false) && !has_news(Clock::now())) {
    for (auto& [id, caller] : callers_) caller.inner().announce_sleep();
    const auto now = Clock::now();
    if (now >= deadline || has_news(now)) break;
    handle(sleeper_.sleep_until(std::min(deadline, due(now))));
    if (!leaving_.empty()) break;
  }
  for (auto& [id, caller] : callers_) caller.inner().announce_awake();
}

void SocketService::wake() noexcept {
  woken_.store(true);
  sleeper_.wake();
}

void SocketService::close(std::chrono::milliseconds patience) noexcept {
  if (std::exchange(closed_, true)) return;
  reception_.close();
  const auto deadline = Clock::now() + patience;
  LinkEnd goodbye;
  goodbye.kind = LinkEnd::Kind::goodbye;
  try {
    for (auto& [id, caller] : callers_) {
      caller.inner().send_end(goodbye);
      leaving_.push_back({id, caller.release(), deadline});
    }
    callers_.clear();
    for (Leaving& each : leaving_) each.deadline = std::min(each.deadline, deadline);
    while (advance_leaving(Clock::now()), !leaving_.empty()) {
      handle(sleeper_.sleep_until(std::min(deadline, Clock::now() + kFlushStep)));
    }
  } catch (...) {
    // Out of memory: what was not flushed is lost, as it is when patience ends.
  }
  callers_.clear();
  leaving_.clear();
  arrivals_.clear();
}

std::unique_ptr<Service> open_service(const ServiceOptions& options) {
  return std::make_unique<SocketService>(options, check_service_options(options));
}

}  // namespace gradwire::transport
