#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gradwire/error.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {

/// How the ranks of a test are connected.
struct Flavor {
  std::string name;
  std::string kind;
  int connections = 1;
  int ranks_per_host = 0;  ///< 0: all on one, which is true
  bool mpi = false;        ///< between hosts auto is MPI
  std::string ucx_tls{};   ///< UCX_TLS; empty: what UCX chooses
};
std::ostream& operator<<(std::ostream& out, const Flavor& flavor);

/// These, and those of UCX where the build has it.
std::vector<Flavor> with_ucx(std::vector<Flavor> flavors);

/// A test for each flavor, in the environment that it asks for.
class FlavorTest : public testing::TestWithParam<Flavor> {
 protected:
  void SetUp() override;
  void TearDown() override;
};

/// Options of one rank; tests change what they are about.
EndpointOptions options_for(const Flavor& flavor, int rank, int ranks);

/// Processes that run the same tests in the same order, and share the ranks of each: rank r is a thread of
/// process r % count. Unless told otherwise, this process has all of them.
struct Processes {
  int own = 0;
  int count = 1;
  std::filesystem::path folder;  ///< an empty one, which all of them see
};
void share_ranks(const Processes& processes);
[[nodiscard]] bool is_here(int rank);

/// What one rank of a test tells the others. Made by the test's own thread, outside of the ranks.
class Signal {
 public:
  Signal();
  void send(const std::string& text = "now") const;
  [[nodiscard]] std::string wait() const;

 private:
  std::string key_;
};

using RankBody = std::function<void(int rank, Endpoint& endpoint)>;

/// Connects `ranks` threads, runs `body` on each, says goodbye, and returns each rank's error, if any, those
/// of other processes included.
std::vector<std::optional<Error>> run_ranks(const Flavor& flavor, int ranks, const RankBody& body);

/// The same, and expects that no rank had an error.
void expect_ranks(const Flavor& flavor, int ranks, const RankBody& body);

/// Deterministic bytes that depend on who sends the frame, to whom, and on its number.
std::vector<std::byte> payload_for(int from, int to, std::uint64_t number, std::size_t size);
wire::Header header_for(int from, int to, std::uint64_t number);

/// Sends, with progress and waiting, until the link takes the frame.
void send(Endpoint& endpoint, int peer, const wire::Header& header, std::span<const std::byte> payload);
/// Waits for a frame from `peer`, copies it and pops it.
struct Received {
  wire::Header header;
  std::vector<std::byte> payload;
};
Received receive(Endpoint& endpoint, int peer);
/// Waits until the link needs none of the payloads it was lent.
void drain(Endpoint& endpoint, int peer, std::uint64_t frames);

/// What this thread has computed so far, in seconds.
double cpu_seconds();

/// Whether this host can listen at the IPv6 loopback; where not, tests over IPv6 have nothing to stand on.
bool has_ipv6();

/// The longest any test waits for something that should come at once.
inline constexpr std::chrono::seconds kSoon{60};

}  // namespace gradwire::transport
