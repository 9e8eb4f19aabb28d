#include "server/head_bytes.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <utility>

namespace gradwire::server {

void HeadWriter::flag(bool value) noexcept { numbers(static_cast<std::uint8_t>(value ? 1 : 0)); }
void HeadWriter::mode(Consistency::Mode value) noexcept { numbers(static_cast<std::uint8_t>(value)); }
void HeadWriter::verb(Verb value) noexcept { numbers(static_cast<std::uint8_t>(value)); }
void HeadWriter::code(ErrorCode value) noexcept { numbers(static_cast<std::uint32_t>(value)); }

void HeadWriter::text(std::string_view value, std::string_view what, std::size_t least, std::size_t most) {
  if (value.size() < least || value.size() > most) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the {} has {} bytes, {} to {} are allowed", what, value.size(), least, most),
                "choose another one");
  }
  bytes_.short_text(value);
}

std::vector<std::byte> HeadWriter::take() const {
  const auto written = bytes_.written();
  return {written.begin(), written.end()};
}

void HeadReader::flag(bool& value) {
  const auto byte = bytes_.read<std::uint8_t>();
  if (byte > 1) note(fmt::format("{} where 0 or 1 belongs", byte));
  value = byte == 1;
}

void HeadReader::mode(Consistency::Mode& value) {
  const auto byte = bytes_.read<std::uint8_t>();
  if (byte > static_cast<std::uint8_t>(Consistency::Mode::asp))
    note(fmt::format("the unknown consistency {}", byte));
  value = static_cast<Consistency::Mode>(byte);
}

void HeadReader::verb(Verb& value) {
  const auto byte = bytes_.read<std::uint8_t>();
  value = static_cast<Verb>(byte);
  if (value < Verb::join || value > Verb::leave) note(fmt::format("the unknown request {}", byte));
}

void HeadReader::code(ErrorCode& value) {
  const auto number = bytes_.read<std::uint32_t>();
  value = static_cast<ErrorCode>(number);
  if (gradwire::to_string(value) == "unknown") note(fmt::format("the unknown error code {}", number));
}

void HeadReader::text(std::string& value, std::string_view what, std::size_t least, std::size_t most) {
  const auto size = bytes_.read<std::uint16_t>();
  if (size < least || size > most)
    note(fmt::format("a {} of {} bytes, where {} to {} are allowed", what, size, least, most));
  value = bytes_.text(size);
}

std::string HeadReader::fault() const {
  if (!bytes_.ok()) return "fewer bytes than it needs";
  if (!fault_.empty()) return fault_;
  if (bytes_.remaining() != 0) return fmt::format("{} bytes after its end", bytes_.remaining());
  return {};
}

void HeadReader::note(std::string fault) {
  if (fault_.empty()) fault_ = std::move(fault);
}

}  // namespace gradwire::server
