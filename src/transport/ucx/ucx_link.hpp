#pragma once

#include <memory>
#include <string>

#include "base/unique_fd.hpp"
#include "transport/peer_link.hpp"
#include "transport/ucx/ucx_inbox.hpp"
#include "transport/ucx/ucx_outbox.hpp"

namespace gradwire::transport {

/// What a UcxLink stands on.
struct UcxParts {
  int rank = 0;
  int peer = 0;
  int world_size = 0;
  std::shared_ptr<UcxWorker> worker;
  bool check_payload = false;
  bool drives = false;  ///< the one of a rank's links that moves the worker for all
};

/// A link by UCX's active messages. A sender has credit for a few frames, so that no more of them ever wait
/// at the receiver; what says how a stream ends needs none, and passes full queues.
class UcxLink final : public PeerLink, private UcxReceiver {
 public:
  explicit UcxLink(UcxParts parts);
  /// Without a goodbye or abort before it, this is a death.
  ~UcxLink() override;
  UcxLink(const UcxLink&) = delete;
  UcxLink& operator=(const UcxLink&) = delete;

  /// Begins to connect with who published this, in place of what there was. `process` tells at once when the
  /// peer's process ends, which UCX finds out late, or not while nobody has waited for it: see
  /// watch_process().
  void open(std::uint64_t token, const std::string& address, base::UniqueFd process);
  /// The peer has been heard of under the address that holds now, and the way to it is complete. It stays
  /// true, whatever comes then.
  [[nodiscard]] bool is_connected() noexcept;
  /// A run of the peer has spoken that is not the one which was opened to.
  [[nodiscard]] bool hears_another() const noexcept { return heard_token_ != 0 && heard_token_ != token_; }
  /// UCS_OK, or why there is no way to the peer.
  [[nodiscard]] ucs_status_t failure() const noexcept { return failure_; }

  bool try_send(const wire::Header& header, std::span<const std::byte> payload) override;
  [[nodiscard]] std::uint64_t completed() const noexcept override { return outbox_.completed(); }
  const Frame* front() override;
  void pop() override;
  [[nodiscard]] std::uint64_t wire_bytes_sent() const noexcept override { return outbox_.bytes_sent(); }
  [[nodiscard]] const char* kind() const noexcept override { return "ucx"; }

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
  [[nodiscard]] bool is_flushed() noexcept override;
  void shut() noexcept override;

 private:
  ucs_status_t on_message(const UcxEnvelope& envelope, std::span<const std::byte> header,
                          const UcxData& data) noexcept override;
  void on_failure(ucs_status_t status) noexcept override;
  void take_end(const UcxEnvelope& envelope);
  void take_garbage(const Error& error);
  void take_shortage() noexcept;
  [[noreturn]] void refuse(const std::string& what) const;

  [[nodiscard]] UcxEnvelope envelope(UcxKind kind) noexcept;
  void say(const UcxEnvelope& envelope, std::uint32_t flags = 0);
  void look_for_failures() noexcept;
  [[nodiscard]] bool is_doomed() const noexcept;
  bool look_for_death() noexcept;

  UcxParts parts_;
  UcxOutbox outbox_;
  UcxInbox inbox_;
  base::UniqueFd process_;
  std::uint64_t token_ = 0;        ///< the peer's
  std::uint64_t heard_token_ = 0;  ///< of whoever spoke as the peer last
  ucs_status_t failure_ = UCS_ERR_NOT_CONNECTED;
  std::uint64_t failure_move_ = 0;  ///< the worker's last one before that
  UcxRequest flush_;
  std::uint64_t reported_ = 0;  ///< frames taken, as the peer knows
  Error shortage_;              ///< made while there is memory
  bool owes_answer_ = false;    ///< to the peer's end
  bool is_heard_ = false;       ///< this rank's own end
  bool is_connected_ = false;
  bool process_ended_ = false;
  bool is_shut_ = false;
  LinkEnd::Kind own_end_ = LinkEnd::Kind::open;  ///< as it was said
  Clock::time_point own_end_at_{};
};

}  // namespace gradwire::transport
