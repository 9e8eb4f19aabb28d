#include "rendezvous/store_connections.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "base/system_error.hpp"
#include "rendezvous/store_protocol.hpp"

namespace gradwire::rendezvous {
namespace {

constexpr auto kHelloPatience = std::chrono::seconds(10);
/// For the rest of a request that has begun, and for taking its reply.
constexpr auto kMessagePatience = std::chrono::seconds(30);
/// Buffers up to this size are every connection's right; larger ones count.
constexpr std::size_t kFreeBuffer = 4096;
constexpr std::size_t kMaxStrangers = 1024;

}  // namespace

void release(std::string& buffer) {
  buffer.clear();
  buffer.shrink_to_fit();
}

StoreConnections::StoreConnections() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) {
    throw base::system_error("cannot serve the store: epoll_create1",
                             "raise the limit on open files (ulimit -n)");
  }
}

void StoreConnections::watch(int fd, std::uint32_t events, int operation) const {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), operation, fd, &event) != 0) {
    throw base::system_error("cannot serve the store: epoll_ctl", "free the resource that the system names");
  }
}

int StoreConnections::wait(epoll_event* events, int most) const {
  int milliseconds = -1;
  if (!deadlines_.empty()) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadlines_.begin()->first - Clock::now());
    milliseconds = static_cast<int>(std::clamp<std::int64_t>(left.count() + 1, 0, 60'000));
  }
  return ::epoll_wait(epoll_.get(), events, most, milliseconds);
}

void StoreConnections::add(base::UniqueFd fd) {
  if (strangers_ >= kMaxStrangers) drop_oldest_stranger();
  const int raw = fd.get();
  watch(raw);
  StoreConnection& connection = connections_[raw];
  connection.fd = std::move(fd);
  ++strangers_;
  set_deadline(connection, Clock::now() + kHelloPatience);
}

void StoreConnections::drop_oldest_stranger() {
  const auto stranger = std::find_if(deadlines_.begin(), deadlines_.end(),
                                     [this](const auto& entry) { return !at(entry.second).welcome; });
  if (stranger != deadlines_.end()) erase(stranger->second);
}

void StoreConnections::welcome(StoreConnection& connection) {
  connection.welcome = true;
  --strangers_;
  set_deadline(connection, Clock::time_point::max());
}

StoreConnection* StoreConnections::find(int fd) {
  const auto found = connections_.find(fd);
  return found == connections_.end() ? nullptr : &found->second;
}

void StoreConnections::erase(int fd) {
  StoreConnection& connection = at(fd);
  set_deadline(connection, Clock::time_point::max());
  if (!connection.welcome) --strangers_;
  buffered_ -= connection.counted;
  connections_.erase(fd);
}

StoreConnections::Arrival StoreConnections::read_piece(StoreConnection& connection) {
  std::array<char, 16384> buffer{};
  for (;;) {
    const auto got = ::recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN ? Arrival::none : Arrival::end;
    if (got == 0) return Arrival::end;
    if (connection.closing) return Arrival::none;
    connection.in.append(buffer.data(), static_cast<std::size_t>(got));
    return Arrival::more;
  }
}

void StoreConnections::send(StoreConnection& connection, const std::string& bytes) {
  connection.out += bytes;
  flush(connection);
  if (count(connection)) return;
  // The end of the stream makes the server close it as soon as nothing iterates over connections.
  release(connection.out);
  ::shutdown(connection.fd.get(), SHUT_RDWR);
}

void StoreConnections::flush(StoreConnection& connection) {
  while (!connection.out.empty()) {
    const auto sent = ::send(connection.fd.get(), connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) {
      connection.out.clear();  // broken: reading from it will say so
      break;
    }
    connection.out.erase(0, static_cast<std::size_t>(sent));
  }
  if (connection.out.empty()) release(connection.out);
  if (connection.writing == connection.out.empty()) {
    connection.writing = !connection.writing;
    watch(connection.fd.get(), connection.writing ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
  }
  limit_time(connection);
}

bool StoreConnections::count(StoreConnection& connection) {
  std::size_t now = 0;
  for (const std::string* buffer : {&connection.in, &connection.out}) {
    if (buffer->capacity() > kFreeBuffer) now += buffer->capacity();
  }
  buffered_ = buffered_ - connection.counted + now;
  connection.counted = now;
  return buffered_ <= kMaxStoreBuffers;
}

void StoreConnections::set_deadline(StoreConnection& connection, Clock::time_point deadline) {
  deadlines_.erase({connection.deadline, connection.fd.get()});
  connection.deadline = deadline;
  if (deadline != Clock::time_point::max()) deadlines_.emplace(deadline, connection.fd.get());
}

void StoreConnections::limit_time(StoreConnection& connection) {
  if (!connection.welcome || connection.waiting || connection.closing) return;
  const bool idle = connection.in.empty() && connection.out.empty();
  const bool limited = connection.deadline != Clock::time_point::max();
  if (idle == limited) {
    set_deadline(connection, idle ? Clock::time_point::max() : Clock::now() + kMessagePatience);
  }
}

StoreConnection* StoreConnections::expired() {
  if (deadlines_.empty() || deadlines_.begin()->first > Clock::now()) return nullptr;
  return &at(deadlines_.begin()->second);
}

}  // namespace gradwire::rendezvous
