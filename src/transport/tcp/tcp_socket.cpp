#include "transport/tcp/tcp_socket.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <cerrno>

#include "transport/rendezvous_keys.hpp"
#include "transport/system_error.hpp"

namespace gradwire::transport {
namespace {

constexpr int kRatedBufferBytes = 128 * 1024;
constexpr int kProbeAfterSeconds = 15;
constexpr int kProbeEverySeconds = 5;
constexpr int kProbes = 6;

void set(const base::UniqueFd& socket, int level, int option, int value) noexcept {
  ::setsockopt(socket.get(), level, option, &value, sizeof value);
}

}  // namespace

base::UniqueFd listen_tcp(SocketAddress& address) {
  base::UniqueFd socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) throw system_error("cannot open a TCP socket", "raise the limit on open files (ulimit -n)");
  if (::bind(socket.get(), address.get(), address.size) != 0) {
    if (errno == EADDRNOTAVAIL) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the address {} is not this host's", address.host()),
                  "name an interface or address of this host");
    }
    throw system_error(fmt::format("cannot listen at {}", address.text()), "choose another address or port");
  }
  if (::listen(socket.get(), SOMAXCONN) != 0)
    throw system_error(fmt::format("cannot listen at {}", address.text()));
  ::getsockname(socket.get(), address.get(), &address.size);
  return socket;
}

base::UniqueFd dial_tcp(const SocketAddress& address, Clock::time_point deadline, std::string& problem) {
  base::UniqueFd socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) throw system_error("cannot open a TCP socket", "raise the limit on open files (ulimit -n)");
  int result = ::connect(socket.get(), address.get(), address.size) == 0 ? 0 : errno;
  if (result == EINPROGRESS) {
    pollfd wanted = {socket.get(), POLLOUT, 0};
    result = ETIMEDOUT;
    if (::poll(&wanted, 1, static_cast<int>(time_left(deadline).count())) > 0) {
      socklen_t size = sizeof result;
      ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &result, &size);
    }
  }
  if (result == 0) return socket;
  problem = errno_text(result);
  return {};
}

void tune_tcp(const base::UniqueFd& socket, double link_rate) noexcept {
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, kProbeAfterSeconds);
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, kProbeEverySeconds);
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  if (link_rate > 0) {
    set(socket, SOL_SOCKET, SO_SNDBUF, kRatedBufferBytes);
    set(socket, SOL_SOCKET, SO_RCVBUF, kRatedBufferBytes);
  }
}

}  // namespace gradwire::transport
