#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "transport/link_end.hpp"
#include "transport/tcp/mirrored_buffer.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {

/// The receiving end of one connection: takes the stream's bytes as they come and gives out frames. Headers
/// are checked at once, so that an abort is known while data before it waits; payloads when their frame is
/// taken.
class Inbox {
 public:
  /// What a connection is for: frames with payloads and then a goodbye, or nothing but how the stream ends.
  enum class Carries : std::uint8_t { data, end };

  /// Throws Error(system).
  Inbox(int peer, int world_size, Carries carries, std::size_t capacity);

  /// Where to put what arrives; empty when frames have to be taken first.
  [[nodiscard]] std::span<std::byte> space() noexcept { return buffer_.space(); }
  [[nodiscard]] bool is_full() const noexcept { return buffer_.data().size() == buffer_.capacity(); }
  /// That many bytes have arrived there. Returns whether a frame became complete or the stream ended.
  bool filled(std::size_t size);
  /// The oldest complete frame, lent until pop(), or nullptr. Throws Error(corrupt_frame) for a damaged
  /// payload.
  const Frame* front();
  void pop() noexcept;

  /// How many bytes are missing to the next header or to the end of the frame that began.
  [[nodiscard]] std::size_t missing() const noexcept {
    return scan_need_ - (buffer_.data().size() - scanned_);
  }
  /// Whether the last frame that began is incomplete.
  [[nodiscard]] bool in_frame() const noexcept { return buffer_.data().size() > scanned_; }
  /// How the stream ended: goodbye, abort or garbage. Frames before it may still wait here.
  [[nodiscard]] const LinkEnd& end() const noexcept { return end_; }

 private:
  /// Throws Error(corrupt_frame) for a frame that does not belong on this connection.
  void scan(const wire::Header& header);

  int peer_;
  int world_size_;
  Carries carries_;
  MirroredBuffer buffer_;
  std::size_t scanned_ = 0;                     ///< bytes of complete frames in the buffer
  std::size_t scan_need_ = wire::kHeaderBytes;  ///< bytes that what follows them needs to be looked at
  bool scan_in_payload_ = false;                ///< the header there was read, scan_need_ is the whole frame
  Frame front_;
  bool has_front_ = false;
  LinkEnd end_;
};

}  // namespace gradwire::transport
