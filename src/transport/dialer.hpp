#pragma once

#include <vector>

#include "transport/greeting.hpp"
#include "transport/meetings.hpp"
#include "transport/mesh_directory.hpp"

namespace gradwire::transport {

/// Connects this rank with others, by shared memory where it can and else by TCP, and says hello to them.
/// What it has dialed stands among `greetings` until the answer has come.
class Dialer {
 public:
  /// `scope` is that of the interface this rank listens at.
  Dialer(const EndpointOptions& options, MeshDirectory& directory, Meetings& meetings,
         std::vector<Greeting>& greetings, const Doorbell& bell, std::uint32_t scope);

  /// Until `deadline` at most. Throws Error: peer_lost, invalid_argument when the two have no transport in
  /// common, and why a rank that was dialed before turned this one away.
  void dial(int peer, Clock::time_point deadline);

 private:
  bool dial_shm(int peer, Clock::time_point give_up);
  void dial_tcp_connection(int peer, int connection, Clock::time_point give_up);
  void try_again(int peer);

  const EndpointOptions& options_;
  MeshDirectory& directory_;
  Meetings& meetings_;
  std::vector<Greeting>& greetings_;
  const Doorbell& bell_;
  std::uint32_t scope_;
};

}  // namespace gradwire::transport
