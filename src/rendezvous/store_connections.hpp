#pragma once

#include <sys/epoll.h>

#include <cstddef>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/unique_fd.hpp"
#include "rendezvous/store_socket.hpp"

namespace gradwire::rendezvous {

/// One client of a store's server, or a stranger.
struct StoreConnection {
  base::UniqueFd fd;
  std::string in;
  std::string out;
  bool welcome = false;  ///< has said the right hello
  bool closing = false;  ///< to be closed once `out` is sent
  bool writing = false;  ///< epoll watches for room to send
  bool waiting = false;  ///< a get of `key` has no reply yet
  std::string key;
  std::size_t counted = 0;  ///< of its memory, in the sum over all
  /// Of the hello, of the wait, of a message, or of the farewell.
  Clock::time_point deadline = Clock::time_point::max();
};

/// All connections of a store's server: what they may keep in memory, how long they may take, and the bytes
/// to and from them. Not thread-safe.
class StoreConnections {
 public:
  /// Throws Error(system).
  StoreConnections();

  /// Also reports when something is to be read from `fd`. Throws Error(system).
  void watch(int fd) const { watch(fd, EPOLLIN, EPOLL_CTL_ADD); }
  /// Sleeps until something happens or the next deadline comes.
  [[nodiscard]] int wait(epoll_event* events, int most) const;

  /// A stranger, who has some seconds to say hello. A flood of them pushes out strangers, not ranks that have
  /// said it. Throws Error(system).
  void add(base::UniqueFd fd);
  void drop_oldest_stranger();
  /// The connection has said the right hello.
  void welcome(StoreConnection& connection);
  [[nodiscard]] StoreConnection* find(int fd);
  [[nodiscard]] StoreConnection& at(int fd) { return connections_.at(fd); }
  void erase(int fd);

  /// Reads what is there, a piece at a time, and lets `handle` see it; false when the connection has to go.
  template <typename Handle>
  [[nodiscard]] bool read(StoreConnection& connection, Handle handle) {
    for (;;) {
      const Arrival arrival = read_piece(connection);
      if (arrival != Arrival::more) return arrival == Arrival::none;
      if (!count(connection) || !handle(connection) || !count(connection)) return false;
      limit_time(connection);
    }
  }
  /// Ends the connection where all buffers together become too large.
  void send(StoreConnection& connection, const std::string& bytes);
  void flush(StoreConnection& connection);

  void set_deadline(StoreConnection& connection, Clock::time_point deadline);
  /// One whose time is over, or null.
  [[nodiscard]] StoreConnection* expired();

 private:
  enum class Arrival { more, none, end };

  void watch(int fd, std::uint32_t events, int operation) const;
  [[nodiscard]] static Arrival read_piece(StoreConnection& connection);
  /// Counts the connection's buffers; false when all of them together are too large.
  [[nodiscard]] bool count(StoreConnection& connection);
  /// A message that has begun may not take for ever.
  void limit_time(StoreConnection& connection);

  base::UniqueFd epoll_;
  std::unordered_map<int, StoreConnection> connections_;
  std::size_t strangers_ = 0;  ///< connections that are not welcome yet
  std::size_t buffered_ = 0;   ///< bytes in all connections' buffers
  std::set<std::pair<Clock::time_point, int>> deadlines_;
};

/// Empties it and gives its memory back.
void release(std::string& buffer);

}  // namespace gradwire::rendezvous
