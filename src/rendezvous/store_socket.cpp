#include "rendezvous/store_socket.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/stream_socket.hpp"

namespace gradwire::rendezvous {

bool send_all(int fd, std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      if (!base::wait_for(fd, POLLOUT, deadline)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool receive_all(int fd, char* out, std::size_t size, Clock::time_point deadline) {
  while (size > 0) {
    const auto got = ::recv(fd, out, size, 0);
    if (got > 0) {
      out += got;
      size -= static_cast<std::size_t>(got);
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || errno != EAGAIN || !base::wait_for(fd, POLLIN, deadline)) return false;
  }
  return true;
}

}  // namespace gradwire::rendezvous
