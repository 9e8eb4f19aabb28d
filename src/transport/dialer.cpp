#include "transport/dialer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "transport/callers.hpp"
#include "transport/shm/shm_socket.hpp"
#include "transport/tcp/tcp_socket.hpp"

namespace gradwire::transport {
namespace {

constexpr std::chrono::seconds kRedialTime{5};

Greeting greeting_of(int peer, base::UniqueFd socket, std::string from) {
  Greeting greeting;
  greeting.socket = std::move(socket);
  greeting.from = std::move(from);
  greeting.dialed = true;
  greeting.peer = peer;
  return greeting;
}

}  // namespace

Dialer::Dialer(const EndpointOptions& options, MeshDirectory& directory, Meetings& meetings,
               std::vector<Greeting>& greetings, const Doorbell& bell, std::uint32_t scope)
    : options_(options),
      directory_(directory),
      meetings_(meetings),
      greetings_(greetings),
      bell_(bell),
      scope_(scope) {}

void Dialer::dial(int peer, Clock::time_point deadline) {
  const auto give_up = std::min(deadline, Clock::now() + kRedialTime);
  if (wants_shm(options_) && dial_shm(peer, give_up)) return;
  if (!wants_tcp(options_) || directory_.of(peer).tcp_host.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("rank {} cannot be reached by {} from rank {}", peer,
                            wants_tcp(options_) ? "tcp" : "shared memory", options_.rank),
                "use auto or tcp on all ranks unless all of them run on one host", peer);
  }
  for (int i = 0; i < options_.connections_per_peer + kControlConnections; ++i) {
    dial_tcp_connection(peer, i, give_up);
  }
}

void Dialer::try_again(int peer) {
  // Who turned this rank away may have closed its door to it, too.
  std::vector<Greeting> rest;
  for (auto& greeting : greetings_) {
    if (!greeting.dialed || !meetings_.take(greeting)) rest.push_back(std::move(greeting));
  }
  greetings_ = std::move(rest);
  directory_.read_again(peer);
}

bool Dialer::dial_shm(int peer, Clock::time_point give_up) {
  const AddressRecord& record = directory_.of(peer);
  base::UniqueFd socket;
  while (true) {
    if (record.group != directory_.own().group || record.unix_name.empty()) return false;
    socket = dial_unix(record.unix_name);
    if (socket) break;
    // On another host nobody can listen; on this one the record must be of an earlier run.
    if (!directory_.is_on_this_host(peer) || Clock::now() >= give_up) return false;
    try_again(peer);
  }
  Greeting greeting = greeting_of(peer, std::move(socket), fmt::format("rank {}", peer));
  greeting.shm = true;
  base::UniqueFd memory;
  meetings_.with(peer).memory = std::make_shared<const PairMemory>(PairMemory::create(memory));
  const std::array<int, 2> descriptors{bell_.fd(), memory.get()};
  meetings_.introduce(greeting, descriptors);
  greetings_.push_back(std::move(greeting));
  return true;
}

void Dialer::dial_tcp_connection(int peer, int connection, Clock::time_point give_up) {
  const AddressRecord& record = directory_.of(peer);
  std::string problem;
  while (true) {
    base::SocketAddress address = base::numeric_address(record.tcp_host, record.tcp_port);
    if (address.is_loopback() && !directory_.is_on_this_host(peer)) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("rank {} runs on another host but listens at {}, its loopback", peer, address.text()),
          "name the network interface that leads to the other hosts on all ranks", peer);
    }
    address.set_scope(scope_);
    if (base::UniqueFd socket = dial_tcp(address, give_up, problem)) {
      Greeting greeting =
          greeting_of(peer, std::move(socket), fmt::format("rank {} at {}", peer, address.text()));
      greeting.connection = connection;
      meetings_.introduce(greeting, {});
      greetings_.push_back(std::move(greeting));
      return;
    }
    if (Clock::now() >= give_up) {
      directory_.throw_if_others_failed();
      throw Error(ErrorCode::peer_lost,
                  fmt::format("cannot connect to rank {} at {}: {}", peer, address.text(), problem),
                  "see whether it still runs, whether a firewall is between the hosts, and that the store is "
                  "this run's",
                  peer);
    }
    try_again(peer);
  }
}

}  // namespace gradwire::transport
