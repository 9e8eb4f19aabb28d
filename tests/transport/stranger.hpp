#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "base/unique_fd.hpp"
#include "directory_store.hpp"
#include "mesh.hpp"
#include "transport/address_record.hpp"
#include "transport/host_identity.hpp"
#include "transport/tcp/tcp_socket.hpp"
#include "wire/hello.hpp"

namespace gradwire::transport {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Hellos: one side is a real connect(), the other this test with plain sockets.
class Stranger : public testing::Test {
 protected:
  static std::string key(int rank) { return "gradwire/conformance/7/address/" + std::to_string(rank); }

  static wire::Hello hello(int from, int to, std::uint64_t token) {
    wire::Hello hello;
    hello.job = "conformance";
    hello.communicator = 7;
    hello.world_size = 2;
    hello.rank = static_cast<std::uint32_t>(from);
    hello.peer = static_cast<std::uint32_t>(to);
    hello.connections = 2;
    hello.token = token;
    return hello;
  }

  /// Where nothing but the end of the time ends a test: long enough for what has to come before, also under
  /// a sanitizer on busy cores.
  static constexpr milliseconds kWholeTime{3000};

  /// The error of a rank's connect() while `stranger` plays the other rank.
  template <typename Play>
  std::optional<Error> error_of_rank(int rank, milliseconds timeout, Play stranger) {
    auto options = options_for({"tcp", "tcp"}, rank, 2);
    options.timeout = timeout;
    std::optional<Error> result;
    std::thread thread([&] {
      try {
        connect(options, store_);
      } catch (const Error& error) {
        result = error;
      }
    });
    stranger();
    thread.join();
    return result;
  }

  void publish(int rank, const base::SocketAddress& address, std::uint64_t token,
               std::uint32_t world_size = 2) {
    AddressRecord record;
    record.world_size = world_size;
    record.token = token;
    record.tcp_host = address.host();
    record.tcp_port = address.port();
    record.host = host_identity();
    record.group = record.host;
    store_.set(key(rank), write_record(record));
  }

  AddressRecord record_of_rank_0() {
    return read_record(store_.get(key(0), kSoon).value(), 0, options_for({"tcp", "tcp"}, 1, 2));
  }

  base::UniqueFd dial_rank_0() {
    const auto record = record_of_rank_0();
    std::string problem;
    return dial_tcp(base::numeric_address(record.tcp_host, record.tcp_port), Clock::now() + kSoon, problem);
  }

  /// Plays rank 1, which dials rank 0 and says these bytes.
  std::optional<Error> error_when_dialed_with(
      milliseconds timeout, const std::function<wire::HelloBytes(std::uint64_t token)>& bytes_for) {
    return error_of_rank(0, timeout, [&] {
      publish(1, base::numeric_address("127.0.0.1", 1), 5);
      const auto socket = dial_rank_0();
      const auto bytes = bytes_for(record_of_rank_0().token);
      ASSERT_GT(::send(socket.get(), bytes.buffer.data(), bytes.size, MSG_NOSIGNAL), 0);
      std::array<std::byte, 1000> answer;
      pollfd wanted = {socket.get(), POLLIN, 0};
      ::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count()));
      const auto size = ::recv(socket.get(), answer.data(), answer.size(), MSG_DONTWAIT);
      ASSERT_GT(size, 0) << "it should say who it is";
      answered_ = wire::read_hello(std::span(answer).first(static_cast<std::size_t>(size)), "rank 0");
    });
  }

  /// Plays rank 0, which rank 1 dials, and answers with these bytes.
  std::optional<Error> error_when_answered_with(const wire::HelloBytes& bytes,
                                                milliseconds timeout = milliseconds(kSoon)) {
    base::SocketAddress address = base::numeric_address("127.0.0.1", 0);
    const auto listener = listen_tcp(address);
    return error_of_rank(1, timeout, [&] {
      publish(0, address, 5);
      pollfd wanted = {listener.get(), POLLIN, 0};
      ASSERT_GT(::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count())), 0);
      const base::UniqueFd socket(::accept(listener.get(), nullptr, nullptr));
      ASSERT_GT(::send(socket.get(), bytes.buffer.data(), bytes.size, MSG_NOSIGNAL), 0);
      wanted = {socket.get(), POLLRDHUP, 0};
      ::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count()));
    });
  }

  DirectoryStore store_;
  wire::Hello answered_;
};

}  // namespace gradwire::transport
