#pragma once

#include <vector>

#include "base/socket_address.hpp"
#include "transport/address_record.hpp"
#include "transport/greeting.hpp"
#include "transport/meetings.hpp"

namespace gradwire::transport {

enum class Door { local, tcp };  ///< local: a Unix socket

/// The doors of a rank, and what stands inside them and has not said hello yet.
class Callers {
 public:
  /// Listens where the options say, and notes in `record` where that is. Throws Error (system,
  /// invalid_argument).
  Callers(const EndpointOptions& options, AddressRecord& record);

  /// What to poll for, -1 for nothing.
  [[nodiscard]] int unix_door() const noexcept { return is_crowded_ ? -1 : unix_listener_.get(); }
  [[nodiscard]] int tcp_door() const noexcept { return is_crowded_ ? -1 : tcp_listener_.get(); }
  /// No place for another caller: let some time pass, then reopen().
  [[nodiscard]] bool is_crowded() const noexcept { return is_crowded_; }
  void reopen() noexcept { is_crowded_ = false; }

  /// Adds whoever waits to the greetings. Throws Error(system) when there are no descriptors left, not even
  /// by dropping strangers.
  void accept(Door door, std::vector<Greeting>& greetings, Meetings& meetings);
  /// Lets go of callers that have not said a whole hello in time.
  void drop_silent(std::vector<Greeting>& greetings, Meetings& meetings) const;

  /// Of the interface that this rank listens at: see SocketAddress.
  [[nodiscard]] std::uint32_t scope() const noexcept { return tcp_address_.scope(); }

 private:
  [[nodiscard]] bool make_room(std::vector<Greeting>& greetings, Meetings& meetings);
  void drop(Clock::duration patience, std::vector<Greeting>& greetings, Meetings& meetings) const;

  const EndpointOptions& options_;
  base::UniqueFd unix_listener_;
  base::UniqueFd tcp_listener_;
  base::SocketAddress tcp_address_;
  bool is_crowded_ = false;
};

/// Which transports the options allow. With an emulated link that is tcp alone.
[[nodiscard]] bool wants_shm(const EndpointOptions& options) noexcept;
[[nodiscard]] bool wants_mpi(const EndpointOptions& options) noexcept;
[[nodiscard]] bool wants_tcp(const EndpointOptions& options) noexcept;

}  // namespace gradwire::transport
