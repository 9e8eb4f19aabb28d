#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace gradwire::base {

/// Writes little-endian integers and runs of bytes into a buffer of the caller's, never past its end: what
/// would not fit is dropped, and ok() is false from then on.
class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> buffer) noexcept : buffer_(buffer) {}

  template <std::unsigned_integral T>
  void write(T value) noexcept {
    std::byte raw[sizeof(T)];
    for (std::size_t i = 0; i < sizeof(T); ++i) raw[i] = static_cast<std::byte>(value >> (8 * i));
    bytes(raw);
  }

  void bytes(std::span<const std::byte> source) noexcept {
    if (!ok_ || source.size() > buffer_.size() - used_) {
      ok_ = false;
      return;
    }
    std::copy(source.begin(), source.end(), buffer_.begin() + static_cast<std::ptrdiff_t>(used_));
    used_ += source.size();
  }

  void text(std::string_view source) noexcept { bytes(std::as_bytes(std::span(source))); }

  /// A 16-bit length and as many bytes; longer text is an overflow.
  void short_text(std::string_view source) noexcept {
    if (source.size() > UINT16_MAX) {
      ok_ = false;
      return;
    }
    write(static_cast<std::uint16_t>(source.size()));
    text(source);
  }

  [[nodiscard]] std::span<const std::byte> written() const noexcept { return buffer_.first(used_); }
  [[nodiscard]] bool ok() const noexcept { return ok_; }

 private:
  std::span<std::byte> buffer_;
  std::size_t used_ = 0;
  bool ok_ = true;
};

}  // namespace gradwire::base
