#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "gradwire/store.hpp"
#include "rendezvous/key_value_table.hpp"
#include "rendezvous/store_protocol.hpp"
#include "rendezvous/store_socket.hpp"

namespace gradwire::rendezvous {

/// The store as rank 0 sees it: the table itself, which a background thread serves to the other ranks until
/// the object is destroyed. Connections that do not say the right hello within some seconds are closed, and
/// so is one whose bytes make no sense; neither disturbs the others. Thread-safe.
class StoreServer final : public Store {
 public:
  /// Starts serving. `check_user`: the listeners are Unix sockets, and other users' processes are turned
  /// away. `table_bytes`: what it keeps at most. Throws Error(system).
  StoreServer(std::vector<base::UniqueFd> listeners, std::string job, bool check_user,
              std::size_t table_bytes = kMaxStoreTable);
  ~StoreServer() override;
  StoreServer(const StoreServer&) = delete;
  StoreServer& operator=(const StoreServer&) = delete;

  void set(const std::string& key, const std::string& value) override;
  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override;

 private:
  struct Connection {
    base::UniqueFd fd;
    std::string in;
    std::string out;
    bool welcome = false;  ///< has said the right hello
    bool closing = false;  ///< to be closed once `out` is sent
    bool writing = false;  ///< epoll watches for room to send
    bool waiting = false;  ///< a get of `key` has no reply yet
    std::string key;
    std::size_t counted = 0;  ///< of its memory, in buffered_
    /// Of the hello, of the wait, or of the farewell.
    Clock::time_point deadline = Clock::time_point::max();
  };

  void watch(int fd, std::uint32_t events, int operation) const;
  void serve();
  void serve_event(int fd, std::uint32_t events);
  void accept_all(int listener);
  void drop_oldest_stranger();
  /// These return false when the connection has to go.
  bool read(Connection& connection);
  bool handle(Connection& connection);
  bool greet(Connection& connection);
  Verdict judge(const StoreHello& hello);
  void answer(Connection& connection, const Request& request);
  void send(Connection& connection, const std::string& bytes);
  void flush(Connection& connection);
  /// Counts the connection's buffers; false when all of them together are too large.
  bool count(Connection& connection);
  void reply_to_waiters(const std::string& key);
  void reply_to_all_waiters();
  void stop_waiting(Connection& connection);
  void set_deadline(Connection& connection, Clock::time_point deadline);
  /// A message that has begun may not take for ever.
  void limit_time(Connection& connection);
  void expire();
  [[nodiscard]] int milliseconds_to_next_deadline() const;
  void close(int fd);

  KeyValueTable table_;
  const std::string job_;
  const bool check_user_;
  const std::vector<base::UniqueFd> listeners_;
  base::UniqueFd epoll_;
  base::UniqueFd wake_;            ///< rings when rank 0 has set a key, or the object is being destroyed
  std::atomic<bool> stop_{false};  ///< set before wake_ rings, read after it

  // The thread's own.
  std::unordered_map<int, Connection> connections_;
  std::size_t strangers_ = 0;  ///< connections that are not welcome yet
  std::size_t buffered_ = 0;   ///< bytes in all connections' buffers
  std::multimap<std::string, int> waiters_;
  std::set<std::pair<Clock::time_point, int>> deadlines_;
  std::map<std::uint32_t, std::uint64_t> sessions_;  ///< by rank
  std::thread thread_;
};

}  // namespace gradwire::rendezvous
