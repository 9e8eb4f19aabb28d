#include "rendezvous/store_server.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>

#include "base/background_thread.hpp"
#include "base/stream_socket.hpp"
#include "base/system_error.hpp"

namespace gradwire::rendezvous {
namespace {

constexpr auto kFarewellPatience = std::chrono::seconds(1);

}  // namespace

StoreServer::StoreServer(std::vector<base::UniqueFd> listeners, std::string job, bool check_user,
                         std::size_t table_bytes)
    : table_(table_bytes),
      job_(std::move(job)),
      check_user_(check_user),
      listeners_(std::move(listeners)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wake_) {
    throw base::system_error("cannot serve the store: eventfd", "raise the limit on open files (ulimit -n)");
  }
  connections_.watch(wake_.get());
  for (const auto& listener : listeners_) connections_.watch(listener.get());
  thread_ = base::start_background_thread("the store's thread", [this] { serve(); });
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

void StoreServer::serve() {
  std::array<epoll_event, 64> events{};
  while (!stop_) {
    const int count = connections_.wait(events.data(), static_cast<int>(events.size()));
    for (int i = 0; i < count; ++i) {
      const auto& event = events.at(static_cast<std::size_t>(i));
      at_expense_of(event.data.fd, [&] { serve_event(event.data.fd, event.events); });
    }
    expire();
  }
  reply_to_all_waiters();
}

template <typename Turn>
void StoreServer::at_expense_of(int fd, const Turn& turn) {
  try {
    turn();
  } catch (const std::exception&) {
    // Out of memory or descriptors: this connection pays for it, the others go on.
    close(fd);
  }
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
  StoreConnection* const connection = connections_.find(fd);
  if (connection == nullptr) return;
  if ((events & EPOLLOUT) != 0) connections_.flush(*connection);
  const bool is_done = connection->closing && connection->out.empty();
  const auto handle_one = [this](StoreConnection& one) { return handle(one); };
  if (is_done || !connections_.read(*connection, handle_one)) close(fd);
}

void StoreServer::accept_all(int listener) {
  for (;;) {
    const int raw = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (raw < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) {
        // No descriptors left, most likely. Make room, and don't let the waiting connection keep this thread
        // busy.
        connections_.drop_oldest_stranger();
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      return;
    }
    base::UniqueFd fd(raw);
    if (check_user_ && !base::peer_is_this_user(raw)) continue;
    at_expense_of(raw, [&] { connections_.add(std::move(fd)); });
  }
}

bool StoreServer::handle(StoreConnection& connection) {
  // Who does not wait for the reply, or does not read it, could make this process keep any number of them.
  if (connection.waiting || !connection.out.empty()) return false;
  StoreHello hello;
  Request request;
  std::size_t size = 0;
  const Parsed parsed = connection.welcome ? read_request(connection.in, request, size)
                                           : read_store_hello(connection.in, hello, size);
  if (parsed != Parsed::whole) return parsed == Parsed::incomplete;
  if (connection.in.size() > size) return false;
  release(connection.in);
  if (!connection.welcome) return greet(connection, hello);
  answer(connection, request);
  return true;
}

bool StoreServer::greet(StoreConnection& connection, const StoreHello& hello) {
  const Verdict verdict = judge(hello);
  if (verdict == Verdict::welcome) {
    connections_.welcome(connection);
  } else {
    connection.closing = true;
    connections_.set_deadline(connection, Clock::now() + kFarewellPatience);
  }
  connections_.send(connection, write_store_answer(verdict));
  return !connection.closing || !connection.out.empty();
}

Verdict StoreServer::judge(const StoreHello& hello) {
  if (hello.version != kStoreVersion) return Verdict::other_version;
  if (hello.job != job_) return Verdict::other_job;
  const auto [known, fresh] = sessions_.emplace(hello.rank, hello.session);
  return fresh || known->second == hello.session ? Verdict::welcome : Verdict::taken;
}

void StoreServer::answer(StoreConnection& connection, const Request& request) {
  if (request.verb == StoreVerb::set) {
    const bool kept = table_.set(request.key, request.value);
    connections_.send(connection,
                      write_reply(kept ? std::optional<std::string>(std::string{}) : std::nullopt));
    if (kept) reply_to_waiters(request.key);
    return;
  }
  const auto value = table_.get(request.key, std::chrono::milliseconds(0));
  if (value || request.timeout.count() == 0) {
    connections_.send(connection, write_reply(value));
    return;
  }
  connection.waiting = true;
  connection.key = request.key;
  waiters_.emplace(request.key, connection.fd.get());
  connections_.set_deadline(connection, Clock::now() + request.timeout);
}

void StoreServer::reply_to_waiters(const std::string& key) {
  const auto [begin, end] = waiters_.equal_range(key);
  reply_to(begin, end);
}

void StoreServer::reply_to_all_waiters() { reply_to(waiters_.begin(), waiters_.end()); }

void StoreServer::reply_to(Waiters::iterator waiter, Waiters::iterator end) {
  while (waiter != end) {
    const int fd = waiter->second;
    ++waiter;  // the entry goes with the reply, or with the connection
    at_expense_of(fd, [&] {
      StoreConnection& connection = connections_.at(fd);
      const auto value = table_.get(connection.key, std::chrono::milliseconds(0));
      if (!value) return;
      const std::string bytes = write_reply(value);
      stop_waiting(connection);
      connections_.send(connection, bytes);
    });
  }
}

void StoreServer::stop_waiting(StoreConnection& connection) {
  if (!connection.waiting) return;
  const auto [begin, end] = waiters_.equal_range(connection.key);
  const auto mine =
      std::find_if(begin, end, [&](const auto& entry) { return entry.second == connection.fd.get(); });
  if (mine != end) waiters_.erase(mine);
  connection.waiting = false;
  connections_.set_deadline(connection, Clock::time_point::max());
}

void StoreServer::expire() {
  while (StoreConnection* const connection = connections_.expired()) {
    const int fd = connection->fd.get();
    at_expense_of(fd, [&] {
      if (connection->waiting) {
        stop_waiting(*connection);
        connections_.send(*connection, write_reply(std::nullopt));
      } else {
        close(fd);
      }
    });
  }
}

void StoreServer::close(int fd) {
  StoreConnection* const connection = connections_.find(fd);
  if (connection == nullptr) return;
  stop_waiting(*connection);
  connections_.erase(fd);
}

}  // namespace gradwire::rendezvous
