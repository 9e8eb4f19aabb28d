#include "transport/shm/shm_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/stream_socket.hpp"
#include "base/system_error.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {
namespace {

constexpr std::size_t kMaxDescriptors = 8;

}  // namespace

base::UniqueFd listen_unix(const std::string& name) {
  int error = 0;
  base::UniqueFd socket = base::listen_at(base::abstract_address(name), error);
  if (socket) return socket;
  errno = error;
  throw base::system_error(fmt::format("cannot listen on the abstract Unix socket '{}'", name),
                           "raise the limit on open files (ulimit -n)");
}

base::UniqueFd dial_unix(const std::string& name) {
  int error = 0;
  return base::connect_to(base::abstract_address(name), Clock::now(), error);
}

bool send_with_descriptors(int socket, std::span<const std::byte> bytes,
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
  return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(bytes.size());
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
