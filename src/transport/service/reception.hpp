#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "transport/greeting.hpp"
#include "transport/meeting.hpp"
#include "transport/service/service_doors.hpp"
#include "transport/sleeper.hpp"

namespace gradwire::transport {

/// What a service tells the sleeper's events apart by: a number that nothing had before, and one of the
/// descriptors behind it.
struct EventTag {
  static constexpr unsigned kIndexBits = 8;

  std::uint64_t id = 0;
  std::size_t index = 0;

  [[nodiscard]] std::uint64_t word() const noexcept { return id << kIndexBits | index; }
  [[nodiscard]] static EventTag from_word(std::uint64_t word) noexcept {
    return {word >> kIndexBits, word & ((1U << kIndexBits) - 1)};
  }
};

/// A caller that has said hello on all its connections and waits for the answer.
struct Guest {
  CallerId id = 0;
  std::uint64_t token = 0;
  std::string from;
  Meeting meeting;
};

/// The doors of a service and whoever stands inside them and has not said a whole hello yet. Nothing that
/// comes in throws, blocks or takes long. Not thread-safe.
class Reception {
 public:
  /// Listens there. Throws Error: invalid_argument, system.
  Reception(const ServiceOptions& options, const base::HostPort& place, const Sleeper& sleeper);
  ~Reception();
  Reception(const Reception&) = delete;
  Reception& operator=(const Reception&) = delete;

  [[nodiscard]] const base::SocketAddress& address() const noexcept { return doors_.address; }

  void on_events(EventTag tag, std::uint32_t events);
  /// Lets in who waits at the doors, and lets go of who has been silent for too long; true when anything
  /// happened.
  bool advance(Clock::time_point now);
  [[nodiscard]] std::vector<Guest> take_guests();

  /// When advance() has something to do, if nothing happens on a descriptor before.
  [[nodiscard]] Clock::time_point due() const noexcept;
  /// Lets nobody in any more.
  void close() noexcept;

 private:
  struct Visitor {
    Greeting greeting;
    std::optional<wire::Hello> hello;  ///< when it waits for its other connections
  };
  using Visitors = std::map<std::uint64_t, Visitor>;  // by number, which is by age

  void accept_at(bool shm, bool& waits, Clock::time_point now);
  void enter(std::uint64_t id, Greeting greeting);
  void read(Visitors::iterator visitor);
  void admit(Visitors::iterator visitor, const wire::Hello& hello);
  void dismiss(Visitors::iterator visitor) noexcept;
  bool dismiss_silent(Clock::time_point now, Clock::duration patience) noexcept;
  [[nodiscard]] Clock::duration patience(Clock::duration most) const noexcept;

  const ServiceOptions& options_;
  const Sleeper& sleeper_;
  ServiceDoors doors_;
  // The doors are watched edge-triggered: somebody may wait there until accept() says that nobody does.
  bool waits_at_tcp_ = false;
  bool waits_at_local_ = false;
  Clock::time_point crowded_until_{};  ///< no place or no descriptors before that
  Visitors visitors_;
  std::map<std::uint64_t, std::uint64_t> waiting_;  ///< visitors with a hello, by their callers' tokens
  std::vector<Guest> guests_;
  std::uint64_t last_id_ = 0;
};

}  // namespace gradwire::transport
