#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "wire/header.hpp"

namespace gradwire::transport {

/// Frames that fit between two ranks in one direction. With 4 of them a parameter server and its workers, who
/// share cores, wake each other twice as often, and move two thirds as much.
inline constexpr std::size_t kRingSlots = 16;
inline constexpr std::size_t kCacheLine = 64;

/// One frame's place: `ready` is 1 + the frame's number once the frame is there. The number travels in the
/// header's cache line, so that a reader takes one miss to learn of a frame and of what it is.
struct alignas(kCacheLine) RingSlot {
  std::atomic<std::uint64_t> ready{0};
  wire::Header header;
};
static_assert(sizeof(RingSlot) == kCacheLine && std::atomic<std::uint64_t>::is_always_lock_free);

/// One direction between two ranks, in memory that both see. One writes, one reads.
///
/// The protocol: the writer fills slot n % kRingSlots and stores ready = n + 1; the reader, having seen that,
/// reads the slot and then stores freed = n + 1; the writer does not touch the slot again before it has seen
/// that. `end` is LinkEnd::to_word() and follows the last frame. Stores of ready, freed and end are
/// sequentially consistent because they precede a load of the other side's `sleeping` (see Side).
struct Ring {
  std::array<RingSlot, kRingSlots> slots;
  alignas(kCacheLine) std::atomic<std::uint64_t> end{0};    // by the writer
  alignas(kCacheLine) std::atomic<std::uint64_t> freed{0};  // by the reader
};

/// What a rank wants to be woken for, as bits of Side::sleeping.
inline constexpr std::uint32_t kWantsFrames = 1U << 0U;
inline constexpr std::uint32_t kWantsSpace = 1U << 1U;

/// Whether a rank sleeps. It stores its wishes, then looks at the rings once more, then sleeps; the other
/// side changes a ring, then looks here. All four are sequentially consistent, so one of the two sees the
/// other and no wake-up is lost.
struct alignas(kCacheLine) Side {
  std::atomic<std::uint32_t> sleeping{0};
};

/// All that two ranks share; the payloads' places follow it in memory. Index 0: the lower rank, or from it.
struct Pair {
  std::array<Ring, 2> rings;
  std::array<Side, 2> sides;
};

/// The writing end of a ring.
class RingWriter {
 public:
  RingWriter(Ring& ring, std::byte* payloads) noexcept : ring_(&ring), payloads_(payloads) {}

  /// Copies a frame into the ring, or returns false when it is full.
  bool push(const wire::Header& header, std::span<const std::byte> payload) noexcept {
    if (!has_space()) return false;
    const std::size_t index = sent_ % kRingSlots;
    RingSlot& slot = ring_->slots[index];
    if (!payload.empty()) std::memcpy(payloads_ + index * wire::kMaxPayload, payload.data(), payload.size());
    slot.header = header;
    slot.ready.store(++sent_, std::memory_order_seq_cst);
    return true;
  }

  [[nodiscard]] bool has_space() noexcept {
    if (sent_ - freed_ < kRingSlots) return true;
    freed_ = ring_->freed.load(std::memory_order_seq_cst);
    return sent_ - freed_ < kRingSlots;
  }

  /// No frame follows. The first end stays.
  void end(std::uint64_t word) noexcept {
    std::uint64_t open = 0;
    ring_->end.compare_exchange_strong(open, word, std::memory_order_seq_cst);
  }

  [[nodiscard]] std::uint64_t sent() const noexcept { return sent_; }

 private:
  Ring* ring_;
  std::byte* payloads_;
  std::uint64_t sent_ = 0;
  std::uint64_t freed_ = 0;  // as last seen
};

/// The reading end of a ring.
class RingReader {
 public:
  RingReader(Ring& ring, const std::byte* payloads) noexcept : ring_(&ring), payloads_(payloads) {}

  /// Whether frame number `n` has arrived; only for taken() <= n < taken() + kRingSlots.
  [[nodiscard]] bool has(std::uint64_t n) const noexcept {
    return ring_->slots[n % kRingSlots].ready.load(std::memory_order_seq_cst) == n + 1;
  }

  /// Of the oldest frame, which has arrived.
  [[nodiscard]] const wire::Header& header() const noexcept {
    return ring_->slots[taken_ % kRingSlots].header;
  }
  [[nodiscard]] const std::byte* payload() const noexcept {
    return payloads_ + taken_ % kRingSlots * wire::kMaxPayload;
  }

  void pop() noexcept { ring_->freed.store(++taken_, std::memory_order_seq_cst); }

  [[nodiscard]] std::uint64_t taken() const noexcept { return taken_; }
  [[nodiscard]] std::uint64_t end() const noexcept { return ring_->end.load(std::memory_order_seq_cst); }

 private:
  Ring* ring_;
  const std::byte* payloads_;
  std::uint64_t taken_ = 0;
};

}  // namespace gradwire::transport
