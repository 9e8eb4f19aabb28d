#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/aligned_vector.hpp"
#include "base/byte_reader.hpp"
#include "gradwire/error.hpp"

namespace gradwire::server {

static_assert(std::endian::native == std::endian::little, "floats are saved as they lie in memory");

/// Requests wait while a state is written to fresh memory: huge pages make that a quarter as long.
using StateBytes = base::AlignedVector<std::byte>;

/// Writes state, as little-endian integers and runs of bytes, or only measures it: state may be a large part
/// of a machine's memory, and a buffer that grows would need it three times.
class StateWriter {
 public:
  /// Only measures.
  StateWriter() = default;
  /// Writes into a buffer of the size that was measured.
  explicit StateWriter(std::size_t size) : keep_(true) { bytes_.reserve(size); }

  template <std::unsigned_integral T>
  void write(T value) {
    std::byte raw[sizeof(T)];
    for (std::size_t i = 0; i < sizeof(T); ++i) raw[i] = static_cast<std::byte>(value >> (8 * i));
    bytes(raw);
  }

  void bytes(std::span<const std::byte> source) {
    size_ += source.size();
    if (keep_) bytes_.insert(bytes_.end(), source.begin(), source.end());
  }
  void floats(std::span<const float> source) { bytes(std::as_bytes(source)); }

  /// A 32-bit length and as many bytes.
  void text(std::string_view source) {
    write(static_cast<std::uint32_t>(source.size()));
    bytes(std::as_bytes(std::span(source)));
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] StateBytes take() && noexcept { return std::move(bytes_); }

 private:
  bool keep_ = false;
  std::size_t size_ = 0;
  StateBytes bytes_;
};

/// Reads what StateWriter wrote. Throws Error(corrupt_frame) instead of reading past the end.
class StateReader {
 public:
  explicit StateReader(std::span<const std::byte> bytes) noexcept : rest_(bytes) {}

  template <std::unsigned_integral T>
  [[nodiscard]] T read() {
    const T value = rest_.read<T>();
    check(rest_.ok());
    return value;
  }

  [[nodiscard]] std::span<const std::byte> bytes(std::size_t size) {
    const auto taken = rest_.bytes(size);
    check(rest_.ok());
    return taken;
  }

  void floats(std::span<float> out) {
    const auto raw = bytes(out.size_bytes());
    std::copy(raw.begin(), raw.end(), std::as_writable_bytes(out).begin());
  }

  [[nodiscard]] std::string text() {
    const auto raw = bytes(read<std::uint32_t>());
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }

  /// How many things of at least `bytes` each follow. No more than could be there, so the caller may make
  /// room.
  [[nodiscard]] std::size_t count(std::size_t bytes) {
    const auto count = read<std::uint64_t>();
    check(count <= rest_.remaining() / bytes);
    return count;
  }

  [[nodiscard]] std::size_t remaining() const noexcept { return rest_.remaining(); }

  static void check(bool good) {
    if (good) return;
    throw Error(ErrorCode::corrupt_frame, "the saved state of the server is damaged or cut short",
                "start from an older snapshot");
  }

 private:
  base::ByteReader rest_;
};

}  // namespace gradwire::server
