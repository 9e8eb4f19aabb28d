#include "mesh.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ostream>
#include <thread>

#include "base/unique_fd.hpp"
#include "directory_store.hpp"

namespace gradwire::transport {

std::ostream& operator<<(std::ostream& out, const Flavor& flavor) { return out << flavor.name; }

EndpointOptions options_for(const Flavor& flavor, int rank, int ranks) {
  EndpointOptions options;
  options.rank = rank;
  options.world_size = ranks;
  options.job = "conformance";
  options.communicator = 7;
  options.kind = flavor.kind;
  options.connections_per_peer = flavor.connections;
  if (flavor.ranks_per_host > 0) options.host_id = "host-" + std::to_string(rank / flavor.ranks_per_host);
  options.timeout = kSoon;
  return options;
}

std::vector<std::optional<Error>> run_ranks(const Flavor& flavor, int ranks, const RankBody& body) {
  DirectoryStore store;
  std::vector<std::optional<Error>> errors(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      auto& error = errors[static_cast<std::size_t>(rank)];
      std::unique_ptr<Endpoint> endpoint;
      try {
        endpoint = connect(options_for(flavor, rank, ranks), store);
        body(rank, *endpoint);
        endpoint->close(std::chrono::seconds(2));
      } catch (const Error& cause) {
        error = endpoint ? endpoint->abort(cause) : cause;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return errors;
}

void expect_ranks(const Flavor& flavor, int ranks, const RankBody& body) {
  const auto errors = run_ranks(flavor, ranks, body);
  for (int rank = 0; rank < ranks; ++rank) {
    const auto& error = errors[static_cast<std::size_t>(rank)];
    EXPECT_FALSE(error) << "rank " << rank << ": " << error->what();
  }
}

std::vector<std::byte> payload_for(int from, int to, std::uint64_t number, std::size_t size) {
  std::vector<std::byte> payload(size);
  std::uint64_t state =
      (static_cast<std::uint64_t>(from) << 40U) + (static_cast<std::uint64_t>(to) << 32U) + number + 1;
  for (std::size_t at = 0; at < size; at += sizeof state) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    std::memcpy(payload.data() + at, &state, std::min(sizeof state, size - at));
  }
  return payload;
}

wire::Header header_for(int from, int to, std::uint64_t number) {
  wire::Header header;
  header.codec = 3;
  header.dtype = 1;
  header.flags = number % 3 == 0 ? wire::kFlagNonFinite : std::uint16_t{0};
  header.layer = static_cast<std::uint16_t>(number);
  header.communicator = 7;
  header.operation = static_cast<std::uint32_t>(number);
  header.order_hash = number * 0x9E3779B97F4A7C15U;
  header.chunk = static_cast<std::uint32_t>(to);
  header.segment = static_cast<std::uint32_t>(number * 3);
  header.sender = static_cast<std::uint32_t>(from);
  header.count = static_cast<std::uint32_t>(number * 5);
  return header;
}

namespace {

template <typename Condition>
void run_until(Endpoint& endpoint, Condition condition) {
  const auto deadline = Clock::now() + kSoon;
  while (!condition()) {
    if (endpoint.progress()) continue;
    if (Clock::now() > deadline) throw Error(ErrorCode::timeout, "the test waited in vain", "find out why");
    endpoint.wait(deadline);
  }
}

}  // namespace

void send(Endpoint& endpoint, int peer, const wire::Header& header, std::span<const std::byte> payload) {
  run_until(endpoint, [&] { return endpoint.link(peer).try_send(header, payload); });
}

Received receive(Endpoint& endpoint, int peer) {
  Received received;
  run_until(endpoint, [&] {
    const Frame* frame = endpoint.link(peer).front();
    if (frame == nullptr) return false;
    received.header = frame->header;
    received.payload.assign(frame->payload.begin(), frame->payload.end());
    endpoint.link(peer).pop();
    return true;
  });
  return received;
}

double cpu_seconds() {
  rusage usage = {};
  ::getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

bool has_ipv6() {
  const base::UniqueFd socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  if (socket && ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return true;
  return errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT;
}

void drain(Endpoint& endpoint, int peer, std::uint64_t frames) {
  run_until(endpoint, [&] { return endpoint.link(peer).completed() >= frames; });
}

}  // namespace gradwire::transport
