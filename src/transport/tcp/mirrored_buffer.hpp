#pragma once

#include <cstddef>
#include <span>

namespace gradwire::transport {

/// A circular byte buffer mapped twice in a row, so that whatever it holds is contiguous: frames are parsed
/// where the kernel put them.
class MirroredBuffer {
 public:
  /// At least `capacity` bytes, all of them backed by memory from the start. Throws Error(system).
  explicit MirroredBuffer(std::size_t capacity);
  MirroredBuffer(MirroredBuffer&& other) noexcept;
  MirroredBuffer& operator=(MirroredBuffer&& other) noexcept;
  MirroredBuffer(const MirroredBuffer&) = delete;
  MirroredBuffer& operator=(const MirroredBuffer&) = delete;
  ~MirroredBuffer();

  [[nodiscard]] std::span<const std::byte> data() const noexcept { return {base_ + begin_, size_}; }
  [[nodiscard]] std::span<std::byte> space() noexcept { return {base_ + begin_ + size_, capacity_ - size_}; }
  /// The first `size` bytes of space() hold data now.
  void filled(std::size_t size) noexcept { size_ += size; }
  /// The first `size` bytes of data() are no longer needed.
  void consumed(std::size_t size) noexcept {
    begin_ = (begin_ + size) % capacity_;
    size_ -= size;
  }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t size_ = 0;
};

}  // namespace gradwire::transport
