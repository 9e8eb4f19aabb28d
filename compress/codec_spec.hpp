#pragma once

#include <string_view>
#include <utility>
#include <vector>

namespace gradwire::compress {

/// "name:option=value,option=value", taken apart. The views point into the parsed text.
struct CodecSpec {
  std::string_view text;
  std::string_view name;
  std::vector<std::pair<std::string_view, std::string_view>> options;  ///< each name once
};

/// Throws Error(invalid_argument) when the text does not have that form.
CodecSpec parse_codec_spec(std::string_view text);

}  // namespace gradwire::compress
