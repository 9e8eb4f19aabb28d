#include "transport/callers.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/host_address.hpp"
#include "base/stream_socket.hpp"
#include "base/system_error.hpp"
#include "transport/shm/shm_socket.hpp"
#include "transport/tcp/tcp_socket.hpp"

namespace gradwire::transport {
namespace {

/// Who connects says hello at once; a stranger that does not is given no longer than this, and no longer than
/// the shorter time where descriptors or places run out.
constexpr std::chrono::seconds kHelloPatience{10};
constexpr std::chrono::seconds kShortHelloPatience{1};
constexpr std::ptrdiff_t kMaxCallers = 1024;

std::ptrdiff_t count(const std::vector<Greeting>& greetings) {
  return std::count_if(greetings.begin(), greetings.end(), [](const auto& each) { return !each.dialed; });
}

}  // namespace

bool wants_shm(const EndpointOptions& options) noexcept {
  return options.kind == "shm" || (options.kind == "auto" && options.link_rate <= 0);
}

bool wants_mpi(const EndpointOptions& options) noexcept {
  return options.kind == "mpi" || (options.kind == "auto" && options.mpi && options.link_rate <= 0);
}

bool wants_tcp(const EndpointOptions& options) noexcept {
  return options.kind != "shm" && !wants_mpi(options);
}

Callers::Callers(const EndpointOptions& options, AddressRecord& record) : options_(options) {
  if (wants_shm(options)) {
    record.unix_name = fmt::format("gradwire-{:016x}", record.token);
    unix_listener_ = listen_unix(record.unix_name);
  }
  if (wants_tcp(options)) {
    tcp_address_ = base::local_address(options.interface);
    tcp_listener_ = listen_tcp(tcp_address_);
    record.tcp_host = tcp_address_.host();
    record.tcp_port = tcp_address_.port();
  }
}

void Callers::accept(Door door, std::vector<Greeting>& greetings, Meetings& meetings) {
  const bool shm = door == Door::local;
  const base::UniqueFd& listener = shm ? unix_listener_ : tcp_listener_;
  while (true) {
    base::SocketAddress address;
    address.size = sizeof address.storage;
    Greeting greeting;
    greeting.socket.reset(
        ::accept4(listener.get(), address.get(), &address.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!greeting.socket) {
      const int error = errno;
      if (error == EINTR || error == ECONNABORTED) continue;
      const bool is_short = error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
      if (!is_short || make_room(greetings, meetings)) return;
      errno = error;
      throw base::system_error("cannot accept a connection", "raise the limit on open files (ulimit -n)");
    }
    greeting.shm = shm;
    greeting.from = shm ? "somebody on this host" : "somebody at " + address.text();
    if (shm && !base::peer_is_this_user(greeting.socket.get())) {
      meetings.note_stranger("another user of this host tried to connect");
      continue;
    }
    greetings.push_back(std::move(greeting));
    if (count(greetings) >= kMaxCallers && make_room(greetings, meetings) && is_crowded_) return;
  }
}

/// False when there is nobody whose place could be taken, now or a little later.
bool Callers::make_room(std::vector<Greeting>& greetings, Meetings& meetings) {
  const auto before = count(greetings);
  if (before == 0) return false;
  drop(kShortHelloPatience, greetings, meetings);
  is_crowded_ = count(greetings) == before;
  return true;
}

void Callers::drop_silent(std::vector<Greeting>& greetings, Meetings& meetings) const {
  drop(kHelloPatience, greetings, meetings);
}

void Callers::drop(Clock::duration patience, std::vector<Greeting>& greetings, Meetings& meetings) const {
  const auto latest = Clock::now() - std::min<Clock::duration>(patience, options_.timeout / 2);
  const auto dropped = std::erase_if(
      greetings, [&](const auto& greeting) { return !greeting.dialed && greeting.since <= latest; });
  if (dropped > 0) meetings.note_stranger(fmt::format("{} connections said no whole hello", dropped));
}

}  // namespace gradwire::transport
