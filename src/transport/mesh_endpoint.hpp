#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/unique_fd.hpp"
#include "transport/doorbell.hpp"
#include "transport/peer_link.hpp"
#include "transport/ring_link.hpp"

namespace gradwire::transport {

/// Every rank's links to all others, of whatever kinds, and one place to sleep for all of them.
class MeshEndpoint final : public Endpoint {
 public:
  /// `links` is by rank, with a null at this rank's own place. `bell` is what the peers ring. `busy_ranks` is
  /// how many ranks share this host: with more of them than cores a waiting rank soon gives its core away.
  /// Throws Error(system).
  MeshEndpoint(int rank, std::vector<std::unique_ptr<PeerLink>> links, std::shared_ptr<const Doorbell> bell,
               int busy_ranks);
  ~MeshEndpoint() override;
  MeshEndpoint(const MeshEndpoint&) = delete;
  MeshEndpoint& operator=(const MeshEndpoint&) = delete;

  [[nodiscard]] Link& link(int peer) override;
  bool progress() override;
  void wait(Clock::time_point deadline) override;
  void wake() noexcept override;
  Error abort(const Error& cause) noexcept override;
  void close(std::chrono::milliseconds patience) noexcept override;

 private:
  bool advance_all();
  bool poll_sockets(int timeout_ms) noexcept;
  void sleep_until(Clock::time_point deadline) noexcept;
  [[nodiscard]] bool has_news() noexcept;
  bool spin(Clock::time_point deadline) noexcept;
  [[nodiscard]] const PeerLink* failed_link() const noexcept;
  void watch(int fd, std::uint64_t tag) const;
  void flush(Clock::time_point deadline, bool until_all_ended) noexcept;

  int rank_;
  std::vector<std::unique_ptr<PeerLink>> links_;
  std::vector<RingLink*> rings_;    ///< those of links_ that need no system call to advance
  std::vector<PeerLink*> sockets_;  ///< the others
  std::shared_ptr<const Doorbell> bell_;
  base::UniqueFd epoll_;
  base::UniqueFd timer_;
  std::atomic<bool> woken_{false};
  bool ended_ = false;  ///< closed or aborted
  bool suspicious_ = false;  ///< a link may have failed since progress() last looked
  bool may_spin_;
  std::size_t first_ = 0;  ///< whose turn it is to move first
  unsigned calls_ = 0;
};

}  // namespace gradwire::transport
