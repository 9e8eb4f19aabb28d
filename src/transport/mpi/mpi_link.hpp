#pragma once

#include <mpi.h>

#include <array>
#include <memory>
#include <string_view>

#include "transport/meeting.hpp"
#include "transport/mpi/mpi_port.hpp"
#include "transport/peer_link.hpp"

namespace gradwire::transport {

/// Frames that may be on their way in one direction.
inline constexpr std::size_t kMpiFrames = 16;

/// Where a peer takes what is sent to it.
struct MpiAddress {
  int process = MPI_PROC_NULL;  ///< its rank in the group
  MpiTag tag = 0;               ///< of its frames; the next one is that of its notes
};

/// A link over MPI: a message for each frame, and another kind for notes on what has been taken and on how
/// the stream ends.
///
/// The receiver has a receive posted for every frame that the sender may have under way: the sender counts
/// what it has sent against what the notes say has been taken. So MPI never has to keep a frame that nobody
/// asked for, and notes, which have a tag of their own, pass frames that nobody takes.
/// The receives are from any source, so that this process itself can end them; the tags, which no other link
/// has, tell the peer.
/// Frames are copied into memory of the link: MPI takes no send back, and a failed operation gives its
/// buffers back at once. They count as lent until MPI has sent them, so that an operation does not end before
/// its frames have left: MPI sends nothing while nobody calls it.
class MpiLink final : public PeerLink {
 public:
  /// A frame more than may be under way: the goodbye.
  static constexpr std::size_t kSlots = kMpiFrames + 1;
  // The places of its requests.
  static constexpr std::size_t kFramesIn = 0;
  static constexpr std::size_t kFramesOut = kFramesIn + kSlots;
  static constexpr std::size_t kNoteIn = kFramesOut + kSlots;
  static constexpr std::size_t kNoteOut = kNoteIn + 1;
  static constexpr std::size_t kEndOut = kNoteOut + 1;
  static constexpr std::size_t kRequests = kEndOut + 1;

  /// `own_tag` is of the frames to this rank. Where MPI refuses, the link begins at its end.
  MpiLink(const LinkIdentity& identity, MpiTag own_tag, const MpiAddress& peer,
          std::shared_ptr<MpiPort> port);
  /// Without a goodbye or abort before it, this is a death.
  ~MpiLink() override;
  MpiLink(const MpiLink&) = delete;
  MpiLink& operator=(const MpiLink&) = delete;

  bool try_send(const wire::Header& header, std::span<const std::byte> payload) override;
  [[nodiscard]] std::uint64_t completed() const noexcept override { return completed_; }
  const Frame* front() override;
  void pop() override;
  [[nodiscard]] std::uint64_t wire_bytes_sent() const noexcept override { return bytes_sent_; }
  [[nodiscard]] const char* kind() const noexcept override { return "mpi"; }

  bool advance(Clock::time_point now) override;
  [[nodiscard]] bool has_news(Clock::time_point now) noexcept override;
  [[nodiscard]] Clock::time_point due(Clock::time_point now) const noexcept override {
    return port_->due(now);
  }
  [[nodiscard]] bool needs_events() const noexcept override { return false; }
  void announce_sleep() noexcept override {}
  void announce_awake() noexcept override {}
  void on_events(std::size_t, std::uint32_t) noexcept override {}
  [[nodiscard]] std::vector<int> descriptors() const override { return {}; }
  void send_end(const LinkEnd& end) noexcept override;
  [[nodiscard]] bool is_flushed() noexcept override;
  void shut() noexcept override;
  void allow_background() const override;

  /// For the port: a request of this link is complete, or has failed with `error`.
  void complete(std::size_t place, const MPI_Status& status, int error) noexcept;
  /// For the port: MPI fails.
  void lose(std::string_view why) noexcept;

 private:
  /// How many frames its sender has taken, and LinkEnd::to_word().
  using Note = std::array<std::uint64_t, 2>;
  struct Memory;

  [[nodiscard]] MPI_Request& request(std::size_t place) noexcept { return port_->request(first_ + place); }
  [[nodiscard]] bool is_idle(std::size_t place) noexcept { return request(place) == MPI_REQUEST_NULL; }
  void check(int code) noexcept;
  void expect_frame(std::size_t slot) noexcept;
  void expect_note() noexcept;
  [[noreturn]] void refuse(std::string_view what) const;
  void look_at_frames();
  void look_at_note(const MPI_Status& status);
  void note_what_was_taken() noexcept;
  void count_completed() noexcept;
  void end_with_garbage(const Error& error) noexcept;

  LinkIdentity identity_;
  MpiTag own_tag_;
  MpiAddress address_;
  std::shared_ptr<MpiPort> port_;
  std::unique_ptr<Memory> memory_;  ///< null once shut
  std::size_t first_ = 0;           ///< the first request's place

  std::uint64_t sent_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t taken_there_ = 0;  ///< as the peer has noted
  std::uint64_t bytes_sent_ = 0;

  std::array<wire::Header, kSlots> headers_;
  std::array<int, kSlots> sizes_{};  ///< of messages that have arrived, kNone where none has
  std::uint64_t arrived_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t noted_ = 0;  ///< of those taken, what the peer knows of
  Frame front_;
  bool front_checked_ = false;

  bool news_ = false;
  bool has_ended_ = false;  ///< said how its own stream ends
};

}  // namespace gradwire::transport
