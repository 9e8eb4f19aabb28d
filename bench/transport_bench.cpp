#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "gradwire/store.hpp"
#include "transport/transport.hpp"

// What moving bytes costs between two processes of this host, without any codec or collective: the exchange
// of a small frame both ways, and a stream of large ones, both with the receiver reading what it gets.

namespace {

namespace transport = gradwire::transport;
namespace wire = gradwire::wire;
using transport::Clock;

// Short samples and their quartile: what else runs on the machine spoils some of them, not all.
constexpr int kSamples = 60;
constexpr int kRounds = 300;
constexpr std::size_t kStreamBytes = std::size_t{16} << 20U;

struct Result {
  double one_way_us = 0;
  double stream_gb_s = 0;
};

std::size_t sum_of(std::span<const std::byte> bytes) {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 64) sum += static_cast<std::size_t>(bytes[i]);
  return sum;
}

template <typename Action>
void until(transport::Endpoint& endpoint, Action action) {
  while (!action()) {
    if (!endpoint.progress()) endpoint.wait(Clock::now() + std::chrono::seconds(10));
  }
}

void send(transport::Endpoint& endpoint, int peer, std::span<const std::byte> payload) {
  until(endpoint, [&] { return endpoint.link(peer).try_send({}, payload); });
}

std::size_t receive(transport::Endpoint& endpoint, int peer) {
  std::size_t sum = 0;
  until(endpoint, [&] {
    const transport::Frame* frame = endpoint.link(peer).front();
    if (frame == nullptr) return false;
    sum = sum_of(frame->payload);
    endpoint.link(peer).pop();
    return true;
  });
  return sum;
}

double exchange_us(transport::Endpoint& endpoint, int rank, std::size_t size) {
  const std::vector<std::byte> payload(size, std::byte{1});
  const auto begin = Clock::now();
  for (int i = 0; i < kRounds; ++i) {
    if (rank == 0) send(endpoint, 1, payload);
    receive(endpoint, 1 - rank);
    if (rank == 1) send(endpoint, 0, payload);
  }
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / (2 * kRounds);
}

double stream_gb_s(transport::Endpoint& endpoint, int rank, const std::vector<std::byte>& data) {
  const auto begin = Clock::now();
  const std::span<const std::byte> all(data);
  if (rank == 0) {
    for (std::size_t at = 0; at < all.size(); at += wire::kMaxPayload) {
      send(endpoint, 1, all.subspan(at, std::min(wire::kMaxPayload, all.size() - at)));
    }
    receive(endpoint, 1);
  } else {
    for (std::size_t at = 0; at < all.size(); at += wire::kMaxPayload) receive(endpoint, 0);
    send(endpoint, 0, all.first(8));
  }
  return static_cast<double>(data.size()) /
         std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

Result measure(int rank, const std::string& kind, const std::string& store_url, std::size_t size) {
  const auto store = gradwire::open_store(store_url, rank, std::chrono::seconds(20));
  transport::EndpointOptions options;
  options.rank = rank;
  options.world_size = 2;
  options.job = "transport-bench";
  options.communicator = static_cast<std::uint32_t>(size);
  options.kind = kind;
  const auto endpoint = transport::connect(options, *store);
  const std::vector<std::byte> data(kStreamBytes, std::byte{1});
  std::vector<double> exchanges;
  std::vector<double> streams;
  for (int i = 0; i < kSamples; ++i) {
    exchanges.push_back(exchange_us(*endpoint, rank, size));
    streams.push_back(stream_gb_s(*endpoint, rank, data));
  }
  endpoint->close(std::chrono::seconds(1));
  std::ranges::sort(exchanges);
  std::ranges::sort(streams, std::greater<>());
  return {exchanges[kSamples / 4], streams[kSamples / 4]};
}

}  // namespace

int main() {
  fmt::print("{:<6} {:>8} {:>14} {:>16}\n", "kind", "bytes", "one way (us)", "16 MB (GB/s)");
  for (const char* kind : {"shm", "tcp"}) {
    for (const std::size_t size : {std::size_t{8}, std::size_t{4096}}) {
      const std::string url = fmt::format("unix://transport-bench-{}-{}-{}", ::getpid(), kind, size);
      const pid_t child = ::fork();
      try {
        const Result result = measure(child == 0 ? 1 : 0, kind, url, size);
        if (child == 0) ::_exit(0);
        fmt::print("{:<6} {:>8} {:>14.3f} {:>16.2f}\n", kind, size, result.one_way_us, result.stream_gb_s);
      } catch (const gradwire::Error& error) {
        fmt::print(stderr, "{}\n", error.what());
        if (child == 0) ::_exit(1);
        return EXIT_FAILURE;
      }
      ::waitpid(child, nullptr, 0);
    }
  }
  return EXIT_SUCCESS;
}
