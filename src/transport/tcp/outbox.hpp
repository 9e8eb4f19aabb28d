#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "wire/header.hpp"

namespace gradwire::transport {

/// The sending end of one connection: frames that wait for the kernel to take their bytes, payloads lent.
class Outbox {
 public:
  static constexpr std::size_t kFrames = 16;

  [[nodiscard]] bool is_full() const noexcept { return count_ >= kFrames; }
  [[nodiscard]] bool is_empty() const noexcept { return count_ == 0; }
  /// For data while not is_full(); the end of the stream always has a place.
  void push(const wire::Header& header, std::span<const std::byte> payload) noexcept;
  /// Drops everything: nothing will be sent any more.
  void drop_all() noexcept;

  /// The next bytes to send, at most `most`; returns how many parts were filled.
  std::size_t gather(std::span<iovec> parts, std::size_t most) const noexcept;
  /// That many bytes were taken.
  void sent(std::size_t bytes) noexcept;

  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  /// Frames that need their payloads no longer.
  [[nodiscard]] std::uint64_t completed() const noexcept { return completed_; }

 private:
  struct Entry {
    wire::HeaderBytes header{};
    std::span<const std::byte> payload;
    [[nodiscard]] std::size_t size() const noexcept { return header.size() + payload.size(); }
  };

  [[nodiscard]] const Entry& entry(std::size_t i) const noexcept {
    return entries_[(first_ + i) % entries_.size()];
  }

  std::array<Entry, kFrames + 1> entries_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t offset_ = 0;  ///< bytes of the first entry that were sent
  std::size_t bytes_ = 0;
  std::uint64_t completed_ = 0;
};

}  // namespace gradwire::transport
