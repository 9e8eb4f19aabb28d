#pragma once

#include <cstddef>
#include <cstdint>

#include "base/unique_fd.hpp"
#include "transport/ring.hpp"

namespace gradwire::transport {

/// The memory that two ranks share: a Pair and the payloads' places, mapped into this process.
class PairMemory {
 public:
  /// For two threads of this process. Throws Error(system).
  static PairMemory anonymous();
  /// For two processes: a fresh memfd, sealed against resizing, to pass to the other side. Throws
  /// Error(system).
  static PairMemory create(base::UniqueFd& fd_out);
  /// The other side's. Throws Error (system, corrupt_frame when it is not such memory).
  static PairMemory map(const base::UniqueFd& fd, int peer);

  PairMemory(PairMemory&& other) noexcept;
  PairMemory& operator=(PairMemory&&) = delete;
  PairMemory(const PairMemory&) = delete;
  PairMemory& operator=(const PairMemory&) = delete;
  ~PairMemory();

  /// Changes with anything that both sides must agree on; goes into the hello.
  static std::uint64_t layout() noexcept;

  [[nodiscard]] Pair& pair() const noexcept { return *pair_; }
  /// Where the payloads of rings[index] live.
  [[nodiscard]] std::byte* payloads(std::size_t index) const noexcept;

 private:
  explicit PairMemory(void* base) noexcept;

  std::byte* base_ = nullptr;
  Pair* pair_ = nullptr;
};

}  // namespace gradwire::transport
