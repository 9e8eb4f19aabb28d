#pragma once

#include <memory>
#include <vector>

#include "transport/peer_link.hpp"
#include "transport/tcp/tcp_connection.hpp"

namespace gradwire::transport {

/// What a TcpLink stands on.
struct TcpParts {
  int rank = 0;
  int peer = 0;
  int world_size = 0;
  std::uint32_t communicator = 0;
  std::vector<base::UniqueFd> sockets;  ///< the one for the end comes last
  std::shared_ptr<LinkRate> rate;       ///< shared by all links of a rank; null: none
};

/// A link over TCP: one or more connections for data, frame n travelling on connection n modulo their number,
/// so that taking them in turn restores the order; and one for how the stream ends, which is never full, so
/// that an abort and a death are heard of however much data waits.
class TcpLink final : public PeerLink {
 public:
  /// Throws Error(system).
  explicit TcpLink(TcpParts parts);

  bool try_send(const wire::Header& header, std::span<const std::byte> payload) override;
  [[nodiscard]] std::uint64_t completed() const noexcept override { return completed_; }
  const Frame* front() override;
  void pop() override;
  [[nodiscard]] std::uint64_t wire_bytes_sent() const noexcept override;
  [[nodiscard]] const char* kind() const noexcept override { return "tcp"; }

  bool advance(Clock::time_point now) override;
  [[nodiscard]] bool has_news(Clock::time_point now) noexcept override;
  [[nodiscard]] Clock::time_point due(Clock::time_point now) const noexcept override;
  [[nodiscard]] bool needs_events() const noexcept override { return true; }
  void announce_sleep() noexcept override {}
  void announce_awake() noexcept override {}
  void on_events(std::size_t index, std::uint32_t events) noexcept override;
  [[nodiscard]] std::vector<int> descriptors() const override;
  void send_end(const LinkEnd& end) noexcept override;
  [[nodiscard]] bool is_flushed() noexcept override;
  void shut() noexcept override;

 private:
  void count_completed() noexcept;
  bool look_for_end(Clock::time_point now);
  [[nodiscard]] TcpConnection& of_frame(std::uint64_t number) noexcept {
    return connections_[number % connections_.size()];
  }

  int rank_;
  std::uint32_t communicator_;
  std::shared_ptr<LinkRate> rate_;
  std::vector<TcpConnection> connections_;
  TcpConnection control_;
  bool aborted_ = false;
  std::uint64_t accepted_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t taken_ = 0;
};

}  // namespace gradwire::transport
