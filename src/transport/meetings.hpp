#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transport/doorbell.hpp"
#include "transport/greeting.hpp"
#include "transport/meeting.hpp"
#include "transport/mesh_directory.hpp"

namespace gradwire::transport {

/// Says hello to whoever is connected, lets in who belongs here, and turns others away.
class Meetings {
 public:
  Meetings(const EndpointOptions& options, MeshDirectory& directory, std::shared_ptr<const Doorbell> bell);

  /// Says hello on a connection that this rank has dialed.
  void introduce(const Greeting& greeting, std::span<const int> descriptors) const;
  /// Reads what is there; whether the greeting is over, either way. Throws Error when a dialed rank turns
  /// this one away or is the wrong one, and when a caller proves that ranks of two jobs, runs or versions are
  /// mixed up.
  [[nodiscard]] bool take(Greeting& greeting);

  [[nodiscard]] Meeting& with(int peer) { return meetings_[static_cast<std::size_t>(peer)]; }
  /// The ranks that connections are missing with.
  [[nodiscard]] std::vector<int> missing() const;
  /// Keeps who was turned away, for the error when somebody is missing.
  void note_stranger(const std::string& what);
  [[nodiscard]] const std::string& strangers() const noexcept { return strangers_; }

 private:
  [[nodiscard]] wire::Hello own_hello(int peer, bool shm, int connection, std::uint64_t token) const;
  void check(const Greeting& greeting, const wire::Hello& hello) const;
  void enter(Greeting& greeting, const wire::Hello& hello);
  void turn_away(Greeting& greeting, const Error& why, std::uint32_t caller, int connection);

  const EndpointOptions& options_;
  MeshDirectory& directory_;
  std::shared_ptr<const Doorbell> bell_;
  std::vector<Meeting> meetings_;
  std::string strangers_;
};

}  // namespace gradwire::transport
