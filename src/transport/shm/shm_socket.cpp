#include "transport/shm/shm_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "transport/system_error.hpp"

namespace gradwire::transport {
namespace {

constexpr std::size_t kMaxDescriptors = 8;

struct UnixAddress {
  sockaddr_un address = {};
  socklen_t size = 0;
};

UnixAddress abstract_address(const std::string& name) {
  UnixAddress result;
  result.address.sun_family = AF_UNIX;
  // An abstract name begins with a zero byte and ends with the address.
  const std::size_t length = std::min(name.size(), sizeof result.address.sun_path - 1);
  std::memcpy(result.address.sun_path + 1, name.data(), length);
  result.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  return result;
}

base::UniqueFd unix_socket() {
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) throw system_error("cannot open a Unix socket", "raise the limit on open files (ulimit -n)");
  return socket;
}

}  // namespace

base::UniqueFd listen_unix(const std::string& name) {
  base::UniqueFd socket = unix_socket();
  const UnixAddress address = abstract_address(name);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address.address), address.size) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    throw system_error(fmt::format("cannot listen on the abstract Unix socket '{}'", name));
  }
  return socket;
}

std::optional<base::UniqueFd> dial_unix(const std::string& name) {
  base::UniqueFd socket = unix_socket();
  const UnixAddress address = abstract_address(name);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address.address), address.size) != 0) {
    return std::nullopt;
  }
  return socket;
}

bool is_same_user(const base::UniqueFd& socket) noexcept {
  ucred peer = {};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid();
}

bool send_with_descriptors(const base::UniqueFd& socket, std::span<const std::byte> bytes,
                           std::span<const int> descriptors) noexcept {
  iovec part = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  return ::sendmsg(socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(bytes.size());
}

ssize_t receive_with_descriptors(const base::UniqueFd& socket, std::span<std::byte> bytes,
                                 std::vector<base::UniqueFd>& descriptors, std::size_t most) {
  iovec part = {bytes.data(), bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = ::recvmsg(socket.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (size < 0) return size;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      base::UniqueFd owned(fd);
      if (descriptors.size() < most) descriptors.push_back(std::move(owned));
    }
  }
  return size;
}

}  // namespace gradwire::transport
