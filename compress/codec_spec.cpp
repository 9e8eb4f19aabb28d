#include "compress/codec_spec.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "gradwire/error.hpp"

namespace gradwire::compress {

CodecSpec parse_codec_spec(std::string_view text) {
  CodecSpec spec;
  spec.text = text;
  const std::size_t colon = text.find(':');
  spec.name = text.substr(0, colon);
  if (colon == std::string_view::npos) return spec;

  std::string_view rest = text.substr(colon + 1);
  while (true) {
    const std::size_t comma = rest.find(',');
    const std::string_view option = rest.substr(0, comma);
    const std::size_t equals = option.find('=');
    if (equals == std::string_view::npos || equals == 0 || equals + 1 == option.size()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("codec '{}': '{}' is not of the form option=value", text, option),
                  "write name or name:option=value,option=value");
    }
    const std::string_view key = option.substr(0, equals);
    const bool repeated = std::any_of(spec.options.begin(), spec.options.end(),
                                      [key](const auto& seen) { return seen.first == key; });
    if (repeated) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("codec '{}': option '{}' is given twice", text, key), "give each option once");
    }
    spec.options.emplace_back(key, option.substr(equals + 1));
    if (comma == std::string_view::npos) return spec;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace gradwire::compress
