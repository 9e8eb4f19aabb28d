#include "mesh.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ostream>
#include <sstream>
#include <thread>

#include "base/unique_fd.hpp"
#include "directory_store.hpp"
#include "transport/link_end.hpp"
#include "transport/mpi/mpi_transport.hpp"

namespace gradwire::transport {

namespace {

Processes& processes() {
  static Processes all;
  return all;
}

/// A store that the processes share, another one each time; they ask for stores in the same order.
std::unique_ptr<DirectoryStore> new_store() {
  static int made = 0;
  if (processes().count == 1) return std::make_unique<DirectoryStore>();
  const auto folder = processes().folder / std::to_string(made++);
  std::filesystem::create_directories(folder);
  return std::make_unique<DirectoryStore>(folder);
}

DirectoryStore& board() {
  static const auto store = new_store();
  return *store;
}

std::string write_error(const std::optional<Error>& error) {
  if (!error) return "none";
  std::ostringstream out;
  out << static_cast<int>(error->code()) << ' ' << error->peer().value_or(-1) << ' ' << error->what();
  return out.str();
}

std::optional<Error> read_error(const std::string& text) {
  if (text == "none") return std::nullopt;
  std::istringstream in(text);
  std::uint32_t code = 0;
  int peer = 0;
  in >> code >> peer;
  return Error(to_error_code(code).value_or(ErrorCode::system), text, "",
               peer < 0 ? std::nullopt : std::optional(peer));
}

/// Tells the other processes of the errors of ranks that are here, and hears of theirs.
void exchange_errors(std::vector<std::optional<Error>>& errors, Store& store) {
  const auto key = [](int rank) { return "error/" + std::to_string(rank); };
  const int ranks = static_cast<int>(errors.size());
  for (int rank = 0; rank < ranks; ++rank) {
    if (is_here(rank)) store.set(key(rank), write_error(errors[static_cast<std::size_t>(rank)]));
  }
  for (int rank = 0; rank < ranks; ++rank) {
    if (is_here(rank)) continue;
    errors[static_cast<std::size_t>(rank)] =
        read_error(store.get(key(rank), kSoon).value_or("90 -1 its process gave no answer"));
  }
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Flavor& flavor) { return out << flavor.name; }

void share_ranks(const Processes& all) { processes() = all; }

bool is_here(int rank) { return rank % processes().count == processes().own; }

Signal::Signal() {
  static int made = 0;
  board();
  key_ = "signal/" + std::to_string(made++);
}

void Signal::send(const std::string& text) const { board().set(key_, text); }

std::string Signal::wait() const {
  auto text = board().get(key_, kSoon);
  if (!text) throw Error(ErrorCode::timeout, "the test waited in vain for a signal", "find out why");
  return *std::move(text);
}

std::vector<Flavor> with_ucx(std::vector<Flavor> flavors) {
  const auto known = available_transports();
  if (std::ranges::find(known, "ucx") == known.end()) return flavors;
  flavors.push_back({"ucx", "ucx"});
  flavors.push_back({.name = "ucx_shm", .kind = "ucx", .ucx_tls = "posix,self"});
  flavors.push_back({.name = "ucx_tcp", .kind = "ucx", .ucx_tls = "tcp,self"});
  return flavors;
}

void FlavorTest::SetUp() {
  if (!GetParam().ucx_tls.empty()) ::setenv("UCX_TLS", GetParam().ucx_tls.c_str(), 1);
}

void FlavorTest::TearDown() {
  if (!GetParam().ucx_tls.empty()) ::unsetenv("UCX_TLS");
}

EndpointOptions options_for(const Flavor& flavor, int rank, int ranks) {
  EndpointOptions options;
  options.rank = rank;
  options.world_size = ranks;
  options.job = "conformance";
  options.communicator = 7;
  options.kind = flavor.kind;
  options.connections_per_peer = flavor.connections;
  if (flavor.ranks_per_host > 0) options.host_id = "host-" + std::to_string(rank / flavor.ranks_per_host);
  if (flavor.mpi) options.mpi = mpi_world();
  options.timeout = kSoon;
  return options;
}

std::vector<std::optional<Error>> run_ranks(const Flavor& flavor, int ranks, const RankBody& body) {
  const auto store = new_store();
  std::vector<std::optional<Error>> errors(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    if (!is_here(rank)) continue;
    threads.emplace_back([&, rank] {
      auto& error = errors[static_cast<std::size_t>(rank)];
      std::unique_ptr<Endpoint> endpoint;
      try {
        endpoint = connect(options_for(flavor, rank, ranks), *store);
        body(rank, *endpoint);
        endpoint->close(std::chrono::seconds(2));
      } catch (const Error& cause) {
        error = endpoint ? endpoint->abort(cause) : cause;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  exchange_errors(errors, *store);
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
