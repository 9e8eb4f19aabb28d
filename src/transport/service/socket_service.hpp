#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "transport/service.hpp"
#include "transport/service/caller_link.hpp"
#include "transport/service/reception.hpp"
#include "transport/sleeper.hpp"
#include "transport/tcp/token_bucket.hpp"

namespace gradwire::transport {

/// A service over shared memory and TCP: a reception, the links of those who were let in, and one place to
/// sleep for all of them.
class SocketService final : public Service {
 public:
  /// Of checked options. Throws Error: invalid_argument, system.
  SocketService(const ServiceOptions& options, const base::HostPort& place);
  ~SocketService() override;
  SocketService(const SocketService&) = delete;
  SocketService& operator=(const SocketService&) = delete;

  [[nodiscard]] std::string address() const override { return address_; }
  bool progress() override;
  [[nodiscard]] std::vector<CallerId> arrivals() override;
  [[nodiscard]] std::vector<Departure> departures() override;
  [[nodiscard]] Link& link(CallerId caller) override;
  [[nodiscard]] bool has_ended(CallerId caller) override;
  void drop(CallerId caller, const std::optional<Error>& cause) noexcept override;
  void wait(Clock::time_point deadline) override;
  void wake() noexcept override;
  void close(std::chrono::milliseconds patience) noexcept override;

 private:
  using CallerLinks = std::map<CallerId, CallerLink>;

  /// A link that carries its last words.
  struct Leaving {
    CallerId id = 0;
    std::unique_ptr<PeerLink> link;
    Clock::time_point deadline;
  };

  /// Throws Error(invalid_argument).
  CallerLink& find(CallerId caller);
  bool handle(std::span<const epoll_event> events);
  bool advance_links(Clock::time_point now);
  bool advance_leaving(Clock::time_point now);
  bool admit_guests();
  void admit(Guest guest);
  void let_go(CallerId id, std::unique_ptr<PeerLink> link) noexcept;
  void shut(PeerLink& link) const;
  [[nodiscard]] bool has_news(Clock::time_point now);
  [[nodiscard]] Clock::time_point due(Clock::time_point now) const noexcept;

  ServiceOptions options_;
  std::shared_ptr<const Doorbell> bell_;
  std::shared_ptr<LinkRate> rate_;  ///< null: none
  Sleeper sleeper_;
  Reception reception_;
  std::string address_;
  CallerLinks callers_;
  std::vector<Leaving> leaving_;
  std::vector<CallerId> arrivals_;
  std::atomic<bool> woken_{false};
  bool suspicious_ = false;  ///< something happened that progress() has not looked at
  bool closed_ = false;
  CallerId first_ = 0;  ///< whose turn it is to move first, or that of the next one there is
};

}  // namespace gradwire::transport
