#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <functional>
#include <optional>
#include <string>

#include "base/host_port.hpp"
#include "mesh.hpp"
#include "transport/service/service_protocol.hpp"
#include "transport/tcp/tcp_socket.hpp"

namespace gradwire::transport {

/// One connection to a service, with nothing but a socket.
class RawCaller {
 public:
  explicit RawCaller(const std::string& service) {
    std::string why;
    const auto place = base::parse_host_port(service, why).value();
    socket_ = dial_tcp(base::numeric_address(place.host, place.port), Clock::now() + kSoon, why);
    EXPECT_TRUE(socket_) << why;
  }

  void say(const std::string& bytes) const {
    EXPECT_EQ(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void say(const wire::HelloBytes& hello) const {
    say(std::string(reinterpret_cast<const char*>(hello.buffer.data()), hello.size));
  }
  [[nodiscard]] static wire::HelloBytes hello_bytes(int connection, std::uint64_t token) {
    ServiceOptions options;
    options.job = "service-test";
    return wire::write_hello(
        service_hello(options, kCallerRank, false, static_cast<std::uint16_t>(connection), token));
  }
  void hello(int connection, std::uint64_t token) const { say(hello_bytes(connection, token)); }

  [[nodiscard]] bool is_hung_up() const {
    pollfd wanted = {socket_.get(), POLLRDHUP, 0};
    return ::poll(&wanted, 1, 0) > 0;
  }
  /// What the service says about itself, if it has.
  [[nodiscard]] std::optional<wire::Hello> answer() const {
    std::array<std::byte, wire::kMaxHelloBytes> bytes;
    const auto peeked = take(bytes, MSG_PEEK);
    const auto size =
        peeked < 8 ? std::nullopt : wire::hello_size(std::span(bytes).first(peeked), "the service");
    if (!size || take(std::span(bytes).first(*size), 0) != *size) return std::nullopt;
    return wire::read_hello(std::span(bytes).first(*size), "the service");
  }
  /// Of the next frame, if there is one.
  [[nodiscard]] std::optional<wire::Header> header() const {
    wire::HeaderBytes bytes;
    if (take(bytes, 0) != bytes.size()) return std::nullopt;
    return wire::read_header(bytes, kServiceRank);
  }
  void reset_on_close() const {
    const linger option{1, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &option, sizeof option);
  }

 private:
  [[nodiscard]] std::size_t take(std::span<std::byte> bytes, int flags) const {
    const auto size = ::recv(socket_.get(), bytes.data(), bytes.size(), flags | MSG_DONTWAIT);
    return size > 0 ? static_cast<std::size_t>(size) : 0;
  }

  base::UniqueFd socket_;
};

/// A process of its own, which goes away with its test at the latest.
class Child {
 public:
  explicit Child(const std::function<void()>& body) : pid_(::fork()) {
    if (pid_ != 0) return;
    body();
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  ~Child() {
    if (pid_ <= 0) return;
    kill();
    static_cast<void>(wait());
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill() const { ::kill(pid_, SIGKILL); }
  /// Its exit status, -1 when something else ended it.
  [[nodiscard]] int wait() {
    int status = -1;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_;
};

}  // namespace gradwire::transport
