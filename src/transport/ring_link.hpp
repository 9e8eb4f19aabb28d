#pragma once

#include <memory>

#include "base/unique_fd.hpp"
#include "transport/doorbell.hpp"
#include "transport/pair_memory.hpp"
#include "transport/peer_link.hpp"

namespace gradwire::transport {

/// What a RingLink stands on.
struct RingParts {
  int rank = 0;
  int peer = 0;
  int world_size = 0;
  std::shared_ptr<const PairMemory> memory;
  std::shared_ptr<const Doorbell> peer_bell;
  base::UniqueFd socket;  ///< shm: its hang-up means that the peer's process is gone
  bool check_payload = false;
  const char* kind = "shm";
};

/// A link through memory that both ranks see: threads of one process, or processes of one host.
class RingLink final : public PeerLink {
 public:
  explicit RingLink(RingParts parts) noexcept;
  /// Without a goodbye or abort before it, this is a death.
  ~RingLink() override;
  RingLink(const RingLink&) = delete;
  RingLink& operator=(const RingLink&) = delete;

  bool try_send(const wire::Header& header, std::span<const std::byte> payload) override;
  [[nodiscard]] std::uint64_t completed() const noexcept override { return writer_.sent(); }
  const Frame* front() override;
  void pop() override;
  [[nodiscard]] std::uint64_t wire_bytes_sent() const noexcept override { return bytes_sent_; }
  [[nodiscard]] const char* kind() const noexcept override { return parts_.kind; }

  bool advance(Clock::time_point now) override;
  [[nodiscard]] bool has_news(Clock::time_point now) noexcept override;
  [[nodiscard]] Clock::time_point due(Clock::time_point) const noexcept override {
    return Clock::time_point::max();
  }
  [[nodiscard]] bool needs_events() const noexcept override { return false; }
  void announce_sleep() noexcept override;
  void announce_awake() noexcept override;
  void on_events(std::size_t index, std::uint32_t events) noexcept override;
  [[nodiscard]] std::vector<int> descriptors() const override;
  void send_end(const LinkEnd& end) noexcept override;
  [[nodiscard]] bool is_flushed() noexcept override { return true; }
  void shut() noexcept override { parts_.socket.reset(); }

 private:
  void wake_peer_for(std::uint32_t wish) const noexcept;
  bool look_for_end() noexcept;
  [[noreturn]] void fail_front(const char* what);

  RingParts parts_;
  RingWriter writer_;
  RingReader reader_;
  Side& own_side_;
  Side& peer_side_;
  Frame front_;
  bool front_checked_ = false;
  bool blocked_ = false;    ///< a frame was refused, and space has not been reported since
  std::uint64_t seen_ = 0;  ///< frames reported by advance() or front()
  std::uint64_t bytes_sent_ = 0;
};

}  // namespace gradwire::transport
