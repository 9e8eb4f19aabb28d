#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "gradwire/store.hpp"
#include "rendezvous/key_value_table.hpp"
#include "rendezvous/store_connections.hpp"
#include "rendezvous/store_protocol.hpp"

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
  using Waiters = std::multimap<std::string, int>;

  void serve();
  /// Closes the connection where its turn throws: nothing may leave the thread, and nobody else is to blame.
  template <typename Turn>
  void at_expense_of(int fd, const Turn& turn);
  void serve_event(int fd, std::uint32_t events);
  void accept_all(int listener);
  /// These return false when the connection has to go.
  bool handle(StoreConnection& connection);
  bool greet(StoreConnection& connection, const StoreHello& hello);
  Verdict judge(const StoreHello& hello);
  void answer(StoreConnection& connection, const Request& request);
  void reply_to_waiters(const std::string& key);
  void reply_to_all_waiters();
  void reply_to(Waiters::iterator waiter, Waiters::iterator end);
  void stop_waiting(StoreConnection& connection);
  void expire();
  void close(int fd);

  KeyValueTable table_;
  const std::string job_;
  const bool check_user_;
  const std::vector<base::UniqueFd> listeners_;
  base::UniqueFd wake_;            ///< rings when rank 0 has set a key, or the object is being destroyed
  std::atomic<bool> stop_{false};  ///< set before wake_ rings, read after it

  // The thread's own.
  StoreConnections connections_;
  Waiters waiters_;                                  ///< the connection by the key that it waits for
  std::map<std::uint32_t, std::uint64_t> sessions_;  ///< by rank
  std::thread thread_;
};

}  // namespace gradwire::rendezvous
