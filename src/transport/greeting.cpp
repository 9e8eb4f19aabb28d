#include "transport/greeting.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/system_error.hpp"
#include "transport/shm/shm_socket.hpp"

namespace gradwire::transport {
namespace {

constexpr std::size_t kMostDescriptors = 2;

}  // namespace

std::optional<wire::Hello> Greeting::read() {
  while (true) {
    const auto size = wire::hello_size(std::span(buffer_).first(have_), from);
    if (size && have_ == *size) return wire::read_hello(std::span(buffer_).first(have_), from);
    const auto wanted = std::span(buffer_).subspan(have_, size.value_or(wire::kHelloPrefixBytes) - have_);
    const ssize_t received = shm ? receive_with_descriptors(socket, wanted, descriptors, kMostDescriptors)
                                 : ::recv(socket.get(), wanted.data(), wanted.size(), MSG_DONTWAIT);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0 && errno == EAGAIN) return std::nullopt;
    if (received <= 0) {
      throw Error(ErrorCode::peer_lost,
                  fmt::format("{} hung up before it said hello{}", from,
                              received < 0 ? ": " + base::errno_text(errno) : std::string()),
                  "see its own message");
    }
    have_ += static_cast<std::size_t>(received);
  }
}

void Greeting::drain() const noexcept {
  constexpr int kReads = 256;  // of somebody who never stops, that is enough
  std::array<std::byte, 1024> unread;
  for (int i = 0; i < kReads; ++i) {
    if (::recv(socket.get(), unread.data(), unread.size(), MSG_DONTWAIT) <= 0) return;
  }
}

void say_hello(int socket, const wire::Hello& hello, std::span<const int> descriptors) {
  // A hello fits into a fresh socket's buffer, so it goes in one piece or the peer is gone; reading will
  // tell.
  static_cast<void>(send_with_descriptors(socket, wire::write_hello(hello).view(), descriptors));
}

}  // namespace gradwire::transport
