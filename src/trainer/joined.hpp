#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace gradwire::trainer {

/// The values as text, with `separator` between them. (fmt::join makes GCC 12 warn about fmt's own code.)
template <typename Range>
std::string joined(const Range& values, std::string_view separator) {
  std::string text;
  for (const auto& value : values) {
    if (!text.empty()) text += separator;
    text += fmt::format("{}", value);
  }
  return text;
}

}  // namespace gradwire::trainer
