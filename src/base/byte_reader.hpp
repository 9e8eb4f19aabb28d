#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace gradwire::base {

/// Reads little-endian integers and runs of bytes, never past the end: what would read further gives zeros or
/// nothing, and ok() is false from then on.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) noexcept : rest_(bytes) {}

  template <std::unsigned_integral T>
  [[nodiscard]] T read() noexcept {
    const auto raw = bytes(sizeof(T));
    T value = 0;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      value = static_cast<T>(value | static_cast<T>(static_cast<T>(raw[i]) << (8 * i)));
    }
    return value;
  }

  [[nodiscard]] std::span<const std::byte> bytes(std::size_t size) noexcept {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const auto taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }

  [[nodiscard]] std::string text(std::size_t size) {
    const auto raw = bytes(size);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }

  /// A 16-bit length and as many bytes.
  [[nodiscard]] std::string short_text() { return text(read<std::uint16_t>()); }

  [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }
  [[nodiscard]] bool ok() const noexcept { return ok_; }

 private:
  std::span<const std::byte> rest_;
  bool ok_ = true;
};

}  // namespace gradwire::base
