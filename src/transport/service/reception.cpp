#include "transport/service/reception.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "base/stream_socket.hpp"
#include "transport/service/service_protocol.hpp"

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;

/// Who connects says hello at once; a stranger that does not is given no longer than this, and no longer than
/// the shorter time where descriptors or places run out.
constexpr std::chrono::seconds kHelloPatience{10};
constexpr std::chrono::seconds kShortHelloPatience{1};
constexpr milliseconds kCrowdedPause{20};
constexpr std::size_t kMaxVisitors = 1024;
/// A crowd at the door must not keep the links waiting.
constexpr int kAcceptsAtOnce = 32;

constexpr EventTag kTcpDoor{0, 0};
constexpr EventTag kLocalDoor{0, 1};
constexpr std::uint32_t kHangUp = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

}  // namespace

Reception::Reception(const ServiceOptions& options, const base::HostPort& place, const Sleeper& sleeper)
    : options_(options), sleeper_(sleeper), doors_(open_doors(options, place)) {
  if (wants_tcp(options)) sleeper_.watch(doors_.tcp.get(), kTcpDoor.word());
  if (doors_.local) sleeper_.watch(doors_.local.get(), kLocalDoor.word());
}

Reception::~Reception() { close(); }

void Reception::on_events(EventTag tag, std::uint32_t events) {
  if (tag.id == 0) {
    (tag.index == kTcpDoor.index ? waits_at_tcp_ : waits_at_local_) = true;
    return;
  }
  const auto visitor = visitors_.find(tag.id);
  if (visitor == visitors_.end()) return;  // it has just become a caller or gone
  if ((events & kHangUp) != 0) {
    dismiss(visitor);
  } else if (!visitor->second.hello) {
    read(visitor);
  }
}

bool Reception::advance(Clock::time_point now) {
  const std::uint64_t before = last_id_;
  bool dismissed = dismiss_silent(now, patience(kHelloPatience));
  if (now >= crowded_until_) {
    if (waits_at_tcp_) accept_at(false, waits_at_tcp_, now);
    if (waits_at_local_) accept_at(true, waits_at_local_, now);
  }
  return dismissed || last_id_ != before;
}

void Reception::accept_at(bool shm, bool& waits, Clock::time_point now) {
  const auto crowd = [&] {
    dismiss_silent(now, patience(kShortHelloPatience));
    crowded_until_ = now + kCrowdedPause;
  };
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    if (visitors_.size() >= kMaxVisitors) return crowd();
    base::SocketAddress address;
    address.size = sizeof address.storage;
    Greeting greeting;
    greeting.socket.reset(::accept4((shm ? doors_.local : doors_.tcp).get(), address.get(), &address.size,
                                    SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!greeting.socket) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // Whatever else it is passes: most likely descriptors ran out.
      if (errno != EAGAIN) return crowd();
      waits = false;
      return;
    }
    // Another user's: nobody here has to say why it is not let in.
    if (shm && !base::peer_is_this_user(greeting.socket.get())) continue;
    greeting.shm = shm;
    greeting.from = shm ? "a caller on this host" : "a caller at " + address.text();
    enter(++last_id_, std::move(greeting));
  }
}

void Reception::enter(std::uint64_t id, Greeting greeting) {
  try {
    sleeper_.watch(greeting.socket.get(), EventTag{id, 0}.word());
  } catch (const Error&) {
    return;  // No memory for one more descriptor: it will see a hang-up and try again.
  }
  visitors_[id].greeting = std::move(greeting);
}

void Reception::read(Visitors::iterator visitor) {
  Visitor& who = visitor->second;
  wire::Hello answer = service_hello(options_, kServiceRank, who.greeting.shm, 0, 0);
  answer.peer = wire::kNoRank;
  try {
    const auto hello = who.greeting.read();
    if (!hello) return;
    answer.token = hello->token;
    answer.connection = hello->connection;
    answer.peer = hello->rank;
    wire::Hello expected = service_hello(options_, kServiceRank, who.greeting.shm, 0, hello->token);
    expected.peer = expected.rank;  // anybody
    wire::check_hello(*hello, expected, who.greeting.from);
    answer.peer = wire::kNoRank;  // from here on the answer itself would let it in
    admit(visitor, *hello);
  } catch (const Error&) {
    // So that it learns what is wrong, too. What it sent beyond its hello must not reset the connection.
    say_hello(who.greeting.socket.get(), answer, {});
    who.greeting.drain();
    dismiss(visitor);
  } catch (const std::bad_alloc&) {
    dismiss(visitor);  // it will see a hang-up and try again
  }
}

/// Throws Error when the caller cannot be right, or there is no place for what it brought.
void Reception::admit(Visitors::iterator visitor, const wire::Hello& hello) {
  Greeting& greeting = visitor->second.greeting;
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::corrupt_frame, fmt::format("{} {}", greeting.from, what),
                "install the same gradwire", kCallerRank);
  };
  Guest guest;
  guest.token = hello.token;
  guest.from = greeting.from;
  guest.meeting.shm = greeting.shm;
  guest.meeting.sockets.resize(hello.connections);
  if (greeting.shm) {
    if (greeting.descriptors.size() != 2) refuse("passed no memory to share");
    guest.meeting.bell = std::make_shared<const Doorbell>(std::move(greeting.descriptors[0]));
    guest.meeting.memory =
        std::make_shared<const PairMemory>(PairMemory::map(greeting.descriptors[1], kCallerRank));
  } else {
    const auto [first, is_first] = waiting_.try_emplace(hello.token, visitor->first);
    if (is_first) {
      visitor->second.hello = hello;
      return;
    }
    const auto other = visitors_.find(first->second);
    const std::uint16_t number = other->second.hello->connection;
    if (number == hello.connection) refuse("connects twice");
    sleeper_.forget(other->second.greeting.socket.get());
    guest.meeting.sockets[number] = std::move(other->second.greeting.socket);
    dismiss(other);
  }
  sleeper_.forget(greeting.socket.get());
  guest.meeting.sockets[hello.connection] = std::move(greeting.socket);
  guest.id = ++last_id_;
  guests_.push_back(std::move(guest));
  dismiss(visitor);
}

void Reception::dismiss(Visitors::iterator visitor) noexcept {
  Visitor& who = visitor->second;
  if (who.hello) waiting_.erase(who.hello->token);
  if (who.greeting.socket) sleeper_.forget(who.greeting.socket.get());
  visitors_.erase(visitor);
}

bool Reception::dismiss_silent(Clock::time_point now, Clock::duration patience) noexcept {
  const std::size_t before = visitors_.size();
  while (!visitors_.empty() && visitors_.begin()->second.greeting.since + patience <= now) {
    dismiss(visitors_.begin());
  }
  return visitors_.size() != before;
}

Clock::duration Reception::patience(Clock::duration most) const noexcept {
  return std::min<Clock::duration>(most, options_.timeout / 2);
}

std::vector<Guest> Reception::take_guests() { return std::exchange(guests_, {}); }

Clock::time_point Reception::due() const noexcept {
  auto when = Clock::time_point::max();
  if (waits_at_tcp_ || waits_at_local_) when = crowded_until_;
  if (!visitors_.empty()) {
    when = std::min(when, visitors_.begin()->second.greeting.since + patience(kHelloPatience));
  }
  return when;
}

void Reception::close() noexcept {
  while (!visitors_.empty()) dismiss(visitors_.begin());
  guests_.clear();
  for (base::UniqueFd* door : {&doors_.tcp, &doors_.local}) {
    if (!*door) continue;
    // Also where a forked child still holds it.
    ::shutdown(door->get(), SHUT_RDWR);
    sleeper_.forget(door->get());
    door->reset();
  }
  waits_at_tcp_ = waits_at_local_ = false;
}

}  // namespace gradwire::transport
