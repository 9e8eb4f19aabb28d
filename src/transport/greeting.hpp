#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "transport/transport.hpp"
#include "wire/hello.hpp"

namespace gradwire::transport {

/// A connection on which the other side has not said hello yet. It reads the hello and not a byte more.
struct Greeting {
  base::UniqueFd socket;
  std::string from;     ///< names the other side in errors
  bool dialed = false;  ///< this side connected; otherwise the other one did
  bool shm = false;     ///< a Unix socket, which carries descriptors too
  Clock::time_point since = Clock::now();
  int peer = -1;       ///< when dialed
  int connection = 0;  ///< when dialed
  std::vector<base::UniqueFd> descriptors;

  /// Reads what is there; the hello when it is complete. Throws Error: what hello_size() and read_hello()
  /// throw, and peer_lost when the other side hung up.
  std::optional<wire::Hello> read();
  /// Throws away what came after the hello.
  void drain() const noexcept;

 private:
  std::array<std::byte, wire::kMaxHelloBytes> buffer_{};
  std::size_t have_ = 0;
};

/// Says hello on a fresh connection, and passes copies of the descriptors where it is a Unix socket.
void say_hello(int socket, const wire::Hello& hello, std::span<const int> descriptors);

}  // namespace gradwire::transport
