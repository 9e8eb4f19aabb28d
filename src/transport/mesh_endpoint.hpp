#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "transport/peer_link.hpp"
#include "transport/ring_link.hpp"
#include "transport/sleeper.hpp"

namespace gradwire::transport {

/// What a rank does before it sleeps: spins, where it has a core to itself; gives its core away a few times,
/// where ranks outnumber cores; or nothing, where what it waits for is far away.
enum class Patience : std::uint8_t { spin, yield, sleep };

/// For as many ranks on this host.
[[nodiscard]] Patience patience_for(int ranks_here) noexcept;

/// Every rank's links to all others, of whatever kinds, and one place to sleep for all of them.
class MeshEndpoint final : public Endpoint {
 public:
  /// `links` is by rank, with a null at this rank's own place. `bell` is what the peers ring. Throws
  /// Error(system).
  MeshEndpoint(int rank, std::vector<std::unique_ptr<PeerLink>> links, std::shared_ptr<const Doorbell> bell,
               Patience patience, std::vector<int> hosts = {});
  /// Without close() or abort() before it, this is a death, which peers are told of.
  ~MeshEndpoint() override;
  MeshEndpoint(const MeshEndpoint&) = delete;
  MeshEndpoint& operator=(const MeshEndpoint&) = delete;

  [[nodiscard]] Link& link(int peer) override;
  [[nodiscard]] const std::vector<int>& hosts() const noexcept override { return hosts_; }
  bool progress() override;
  void wait(Clock::time_point deadline) override;
  void wake() noexcept override;
  void allow_background() const override;
  Error abort(const Error& cause) noexcept override;
  void close(std::chrono::milliseconds patience) noexcept override;

 private:
  bool advance_all();
  /// Tells links what happened. That alone is no movement: UCX has events of its own though all peers are
  /// silent.
  void handle(std::span<const epoll_event> events) noexcept;
  [[nodiscard]] bool has_news() noexcept;
  bool spin(Clock::time_point deadline) noexcept;
  /// The most likely cause of all, of those that weigh more than what is `known`; or null.
  [[nodiscard]] const PeerLink* failed_link(int known = 0) const noexcept;
  void end_with(const LinkEnd& end, std::chrono::milliseconds patience) noexcept;
  void end_all(const LinkEnd& end) noexcept;
  void flush(Clock::time_point deadline, bool until_blamed);

  int rank_;
  std::vector<std::unique_ptr<PeerLink>> links_;
  std::vector<RingLink*> rings_;   ///< those of links_ through memory, which advance without a clock
  std::vector<PeerLink*> others_;  ///< the rest
  bool needs_events_ = false;      ///< any of links_ does
  std::vector<int> hosts_;
  Sleeper sleeper_;
  std::atomic<bool> woken_{false};
  bool ended_ = false;       ///< closed or aborted
  bool suspicious_ = false;  ///< a link may have failed since progress() last looked
  Patience patience_;
  std::size_t first_ = 0;  ///< whose turn it is to move first
  unsigned calls_ = 0;
  Clock::time_point next_poll_{};
};

}  // namespace gradwire::transport
