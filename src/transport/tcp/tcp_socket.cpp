#include "transport/tcp/tcp_socket.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>

#include "base/stream_socket.hpp"
#include "base/system_error.hpp"

namespace gradwire::transport {
namespace {

constexpr const char* kRaiseLimit = "raise the limit on open files (ulimit -n)";
constexpr int kRatedBufferBytes = 128 * 1024;
constexpr int kProbeAfterSeconds = 15;
constexpr int kProbeEverySeconds = 5;
constexpr int kProbes = 6;

/// What a higher limit may help against.
bool is_shortage(int error) noexcept {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

void set(const base::UniqueFd& socket, int level, int option, int value) noexcept {
  ::setsockopt(socket.get(), level, option, &value, sizeof value);
}

}  // namespace

base::UniqueFd listen_tcp(base::SocketAddress& address) {
  int error = 0;
  base::UniqueFd socket = base::listen_at(address, error);
  if (error == EADDRNOTAVAIL) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the address {} is not this host's", address.host()),
                "name an interface or address of this host");
  }
  if (!socket) {
    errno = error;
    throw base::system_error(fmt::format("cannot listen at {}", address.text()),
                             is_shortage(error) ? kRaiseLimit : "choose another interface or address");
  }
  ::getsockname(socket.get(), address.get(), &address.size);
  return socket;
}

base::UniqueFd dial_tcp(const base::SocketAddress& address, Clock::time_point deadline,
                        std::string& problem) {
  int error = 0;
  base::UniqueFd socket = base::connect_to(address, deadline, error);
  if (is_shortage(error)) {
    errno = error;
    throw base::system_error("cannot open a TCP socket", kRaiseLimit);
  }
  if (!socket) problem = base::errno_text(error);
  return socket;
}

void tune_tcp(const base::UniqueFd& socket, double link_rate) noexcept {
  base::keep_lively(socket.get());
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, kProbeAfterSeconds);
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, kProbeEverySeconds);
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  if (link_rate > 0) {
    set(socket, SOL_SOCKET, SO_SNDBUF, kRatedBufferBytes);
    set(socket, SOL_SOCKET, SO_RCVBUF, kRatedBufferBytes);
  }
}

}  // namespace gradwire::transport
