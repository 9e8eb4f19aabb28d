#pragma once

#include <array>
#include <deque>
#include <memory>

#include "transport/ucx/ucx_worker.hpp"

namespace gradwire::transport {

/// Frames that may be under way or wait over UCX, each way.
inline constexpr std::size_t kUcxWindow = 16;

/// What one rank sends to a peer: frames, within the peer's credit, and messages without frames, which need
/// none. Not thread-safe.
class UcxOutbox {
 public:
  UcxOutbox(std::shared_ptr<UcxWorker> worker, int peer);
  ~UcxOutbox();
  UcxOutbox(const UcxOutbox&) = delete;
  UcxOutbox& operator=(const UcxOutbox&) = delete;

  /// Whether the peer has credit for one more frame, and an earlier one has left its place.
  [[nodiscard]] bool has_place() noexcept;
  /// Sends a frame, of which there is a place; `payload` is lent until completed() has counted it.
  void push(const UcxEnvelope& envelope, const wire::Header& header, std::span<const std::byte> payload);
  /// Sends a message without a frame; what is neither UCS_OK nor UCS_INPROGRESS says that it was not sent.
  /// Throws std::bad_alloc.
  ucs_status_t say(const UcxEnvelope& envelope, std::uint32_t flags = 0);
  /// Counts frames that no longer need their payloads; whether there are new ones.
  bool count_completed() noexcept;
  /// The peer needs no place for so many frames any more. False for more than were sent.
  [[nodiscard]] bool peer_took(std::uint64_t frames) noexcept;
  /// Ends all loans. Nothing is sent afterwards.
  void let_go() noexcept;

  [[nodiscard]] std::uint64_t accepted() const noexcept { return accepted_; }
  [[nodiscard]] std::uint64_t completed() const noexcept { return completed_; }
  /// Frames that the peer has not said to have taken.
  [[nodiscard]] std::uint64_t untaken() const noexcept { return accepted_ - taken_; }
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept { return bytes_sent_; }
  /// UCS_OK, or why the first frame that could not be sent was not.
  [[nodiscard]] ucs_status_t failure() const noexcept { return failure_; }

 private:
  struct Departure {
    std::array<std::byte, kUcxHeadBytes> head{};
    UcxRequest request;
  };
  struct Note {
    std::array<std::byte, kEnvelopeBytes> bytes{};
    UcxRequest request;
  };
  /// What UCX may read until its worker ends.
  struct Memory {
    std::array<Departure, kUcxWindow> departures;  ///< frame n at n % kUcxWindow
    std::deque<Note> notes{8};                     ///< used again and again
  };

  [[nodiscard]] Note& free_note();

  std::shared_ptr<UcxWorker> worker_;
  int peer_;
  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
  ucs_status_t failure_ = UCS_OK;
  std::uint64_t accepted_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t taken_ = 0;  ///< by the peer, as it says
  std::uint64_t bytes_sent_ = 0;
};

}  // namespace gradwire::transport
