#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "gradwire/consistency.hpp"
#include "gradwire/error.hpp"
#include "server/messages.hpp"

// How each kind of field in a head is written and read. Both classes have the same functions, so that a list
// of fields serves both ways.
namespace gradwire::server {

class HeadWriter {
 public:
  template <std::unsigned_integral... T>
  void numbers(const T&... values) noexcept {
    (bytes_.write(values), ...);
  }
  void flag(bool value) noexcept;
  void mode(Consistency::Mode value) noexcept;
  void verb(Verb value) noexcept;
  void code(ErrorCode value) noexcept;
  /// Throws Error(invalid_argument) for one shorter than `least` or longer than `most`.
  void text(std::string_view value, std::string_view what, std::size_t least, std::size_t most);

  [[nodiscard]] std::vector<std::byte> take() const;

 private:
  static constexpr std::size_t kMostHeadBytes = 1 + 1 + 8 + 4 + 2 * (2 + kMaxReasonBytes);

  std::array<std::byte, kMostHeadBytes> buffer_;
  base::ByteWriter bytes_{buffer_};
};

/// Reads on whatever is wrong; fault() tells in the end.
class HeadReader {
 public:
  explicit HeadReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  template <std::unsigned_integral... T>
  void numbers(T&... values) noexcept {
    ((values = bytes_.read<T>()), ...);
  }
  void flag(bool& value);
  void mode(Consistency::Mode& value);
  void verb(Verb& value);
  void code(ErrorCode& value);
  void text(std::string& value, std::string_view what, std::size_t least, std::size_t most);

  /// The first thing that is wrong, if any.
  [[nodiscard]] std::string fault() const;

 private:
  void note(std::string fault);

  base::ByteReader bytes_;
  std::string fault_;
};

}  // namespace gradwire::server
