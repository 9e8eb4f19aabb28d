#include "rendezvous/store_server.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <exception>
#include <functional>
#include <system_error>

#include "base/stream_socket.hpp"
#include "base/system_error.hpp"
#include "gradwire/error.hpp"

namespace gradwire::rendezvous {
namespace {

constexpr auto kHelloPatience = std::chrono::seconds(10);
constexpr auto kFarewellPatience = std::chrono::seconds(1);
/// For the rest of a request that has begun, and for taking its reply.
constexpr auto kMessagePatience = std::chrono::seconds(30);
/// Buffers up to this size are every connection's right; larger ones count.
constexpr std::size_t kFreeBuffer = 4096;
/// A flood of strangers pushes out strangers, not ranks that have said hello.
constexpr std::size_t kMaxStrangers = 1024;

void check(bool good, const char* what) {
  if (good) return;
  throw Error(ErrorCode::system, fmt::format("cannot serve the store: {}: {}", what, base::errno_text(errno)),
              "free the resource that the system names");
}

/// Empties it and gives its memory back.
void release(std::string& buffer) {
  buffer.clear();
  buffer.shrink_to_fit();
}

/// The program's signals are not for a thread of ours.
std::thread start_without_signals(std::function<void()> body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread;
  std::exception_ptr failure;
  try {
    thread = std::thread(std::move(body));
  } catch (...) {
    failure = std::current_exception();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failure) std::rethrow_exception(failure);
  return thread;
}

}  // namespace

StoreServer::StoreServer(std::vector<base::UniqueFd> listeners, std::string job, bool check_user,
                         std::size_t table_bytes)
    : table_(table_bytes),
      job_(std::move(job)),
      check_user_(check_user),
      listeners_(std::move(listeners)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  check(static_cast<bool>(epoll_), "epoll_create1");
  check(static_cast<bool>(wake_), "eventfd");
  watch(wake_.get(), EPOLLIN, EPOLL_CTL_ADD);
  for (const auto& listener : listeners_) watch(listener.get(), EPOLLIN, EPOLL_CTL_ADD);
  try {
    thread_ = start_without_signals([this] { serve(); });
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::system, fmt::format("cannot start the store's thread: {}", error.what()),
                "allow this process more threads");
  }
}

StoreServer::~StoreServer() {
  stop_ = true;
  (void)::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void StoreServer::set(const std::string& key, const std::string& value) {
  check_entry(key, value);
  if (!table_.set(key, value)) throw store_is_full(key.size() + value.size());
  (void)::eventfd_write(wake_.get(), 1);
}

std::optional<std::string> StoreServer::get(const std::string& key, std::chrono::milliseconds timeout) {
  return table_.get(key, timeout);
}

void StoreServer::watch(int fd, std::uint32_t events, int operation) const {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  check(::epoll_ctl(epoll_.get(), operation, fd, &event) == 0, "epoll_ctl");
}

void StoreServer::serve() {
  std::array<epoll_event, 64> events{};
  while (!stop_) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                   milliseconds_to_next_deadline());
    for (int i = 0; i < count; ++i) {
      const auto& event = events.at(static_cast<std::size_t>(i));
      try {
        serve_event(event.data.fd, event.events);
      } catch (const std::exception&) {
        // Out of memory or descriptors: this connection pays for it, the others go on.
        close(event.data.fd);
      }
    }
    expire();
  }
  reply_to_all_waiters();
}

void StoreServer::serve_event(int fd, std::uint32_t events) {
  if (fd == wake_.get()) {
    eventfd_t rings = 0;
    (void)::eventfd_read(fd, &rings);
    reply_to_all_waiters();
    return;
  }
  const bool listening = std::any_of(listeners_.begin(), listeners_.end(),
                                     [&](const base::UniqueFd& listener) { return listener.get() == fd; });
  if (listening) {
    accept_all(fd);
    return;
  }
  const auto found = connections_.find(fd);
  if (found == connections_.end()) return;
  if ((events & EPOLLOUT) != 0) {
    flush(found->second);
    limit_time(found->second);
  }
  const bool gone = found->second.closing && found->second.out.empty();
  if (gone || !read(found->second)) close(fd);
}

void StoreServer::accept_all(int listener) {
  for (;;) {
    const int raw = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (raw < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) {
        // No descriptors left, most likely. Make room, and don't let the waiting connection keep this thread
        // busy.
        drop_oldest_stranger();
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      return;
    }
    base::UniqueFd fd(raw);
    if (check_user_ && !base::peer_is_this_user(raw)) continue;
    if (strangers_ >= kMaxStrangers) drop_oldest_stranger();
    watch(raw, EPOLLIN, EPOLL_CTL_ADD);
    Connection& connection = connections_[raw];
    connection.fd = std::move(fd);
    ++strangers_;
    set_deadline(connection, Clock::now() + kHelloPatience);
  }
}

void StoreServer::drop_oldest_stranger() {
  for (const auto& [deadline, fd] : deadlines_) {
    if (!connections_.at(fd).welcome) {
      close(fd);
      return;
    }
  }
}

bool StoreServer::read(Connection& connection) {
  std::array<char, 16384> buffer{};
  for (;;) {
    const auto got = ::recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return false;
    if (connection.closing) return true;
    connection.in.append(buffer.data(), static_cast<std::size_t>(got));
    if (!count(connection) || !handle(connection) || !count(connection)) return false;
    limit_time(connection);
  }
}

bool StoreServer::handle(Connection& connection) {
  // Who does not wait for the reply, or does not read it, could make this process keep any number of them.
  if (connection.waiting || !connection.out.empty()) return false;
  if (!connection.welcome) return greet(connection);
  Request request;
  std::size_t size = 0;
  const Parsed parsed = read_request(connection.in, request, size);
  if (parsed != Parsed::whole) return parsed == Parsed::incomplete;
  if (connection.in.size() > size) return false;
  release(connection.in);
  answer(connection, request);
  return true;
}

bool StoreServer::greet(Connection& connection) {
  StoreHello hello;
  std::size_t size = 0;
  const Parsed parsed = read_store_hello(connection.in, hello, size);
  if (parsed != Parsed::whole) return parsed == Parsed::incomplete;
  if (connection.in.size() > size) return false;
  release(connection.in);
  const Verdict verdict = judge(hello);
  if (verdict == Verdict::welcome) {
    connection.welcome = true;
    --strangers_;
    set_deadline(connection, Clock::time_point::max());
  } else {
    connection.closing = true;
    set_deadline(connection, Clock::now() + kFarewellPatience);
  }
  send(connection, write_store_answer(verdict));
  return !connection.closing || !connection.out.empty();
}

Verdict StoreServer::judge(const StoreHello& hello) {
  if (hello.version != kStoreVersion) return Verdict::other_version;
  if (hello.job != job_) return Verdict::other_job;
  const auto [known, fresh] = sessions_.emplace(hello.rank, hello.session);
  return fresh || known->second == hello.session ? Verdict::welcome : Verdict::taken;
}

void StoreServer::answer(Connection& connection, const Request& request) {
  if (request.verb == StoreVerb::set) {
    const bool kept = table_.set(request.key, request.value);
    send(connection, write_reply(kept ? std::optional<std::string>(std::string{}) : std::nullopt));
    if (kept) reply_to_waiters(request.key);
    return;
  }
  const auto value = table_.get(request.key, std::chrono::milliseconds(0));
  if (value || request.timeout.count() == 0) {
    send(connection, write_reply(value));
    return;
  }
  connection.waiting = true;
  connection.key = request.key;
  waiters_.emplace(request.key, connection.fd.get());
  set_deadline(connection, Clock::now() + request.timeout);
}

void StoreServer::send(Connection& connection, const std::string& bytes) {
  connection.out += bytes;
  flush(connection);
  if (count(connection)) {
    limit_time(connection);
    return;
  }
  // The end of the stream makes the thread close it as soon as nothing iterates over connections.
  release(connection.out);
  ::shutdown(connection.fd.get(), SHUT_RDWR);
}

void StoreServer::flush(Connection& connection) {
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
}

bool StoreServer::count(Connection& connection) {
  std::size_t now = 0;
  for (const std::string* buffer : {&connection.in, &connection.out}) {
    if (buffer->capacity() > kFreeBuffer) now += buffer->capacity();
  }
  buffered_ = buffered_ - connection.counted + now;
  connection.counted = now;
  return buffered_ <= kMaxStoreBuffers;
}

void StoreServer::reply_to_waiters(const std::string& key) {
  const auto value = table_.get(key, std::chrono::milliseconds(0));
  if (!value) return;
  const std::string bytes = write_reply(value);
  for (auto waiter = waiters_.find(key); waiter != waiters_.end(); waiter = waiters_.find(key)) {
    Connection& connection = connections_.at(waiter->second);
    stop_waiting(connection);
    send(connection, bytes);
  }
}

void StoreServer::reply_to_all_waiters() {
  std::vector<std::string> keys;
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();
       waiter = waiters_.upper_bound(waiter->first)) {
    keys.push_back(waiter->first);
  }
  for (const auto& key : keys) reply_to_waiters(key);
}

void StoreServer::stop_waiting(Connection& connection) {
  if (!connection.waiting) return;
  const auto [begin, end] = waiters_.equal_range(connection.key);
  const auto mine =
      std::find_if(begin, end, [&](const auto& entry) { return entry.second == connection.fd.get(); });
  if (mine != end) waiters_.erase(mine);
  connection.waiting = false;
  set_deadline(connection, Clock::time_point::max());
}

void StoreServer::set_deadline(Connection& connection, Clock::time_point deadline) {
  deadlines_.erase({connection.deadline, connection.fd.get()});
  connection.deadline = deadline;
  if (deadline != Clock::time_point::max()) deadlines_.emplace(deadline, connection.fd.get());
}

void StoreServer::expire() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= Clock::now()) {
    const int fd = deadlines_.begin()->second;
    Connection& connection = connections_.at(fd);
    if (connection.waiting) {
      stop_waiting(connection);
      send(connection, write_reply(std::nullopt));
    } else {
      close(fd);
    }
  }
}

void StoreServer::limit_time(Connection& connection) {
  if (!connection.welcome || connection.waiting || connection.closing) return;
  const bool idle = connection.in.empty() && connection.out.empty();
  const bool limited = connection.deadline != Clock::time_point::max();
  if (idle == limited) {
    set_deadline(connection, idle ? Clock::time_point::max() : Clock::now() + kMessagePatience);
  }
}

int StoreServer::milliseconds_to_next_deadline() const {
  if (deadlines_.empty()) return -1;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadlines_.begin()->first - Clock::now())
          .count() +
      1;
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

void StoreServer::close(int fd) {
  const auto found = connections_.find(fd);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  stop_waiting(connection);
  set_deadline(connection, Clock::time_point::max());
  if (!connection.welcome) --strangers_;
  buffered_ -= connection.counted;
  connections_.erase(found);
}

}  // namespace gradwire::rendezvous
