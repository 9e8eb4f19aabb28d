#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace gradwire::trainer {

/// "1 rank", "4 ranks"; `several` where an s is not enough.
inline std::string counted(std::uint64_t count, std::string_view one, std::string_view several = {}) {
  if (count == 1) return fmt::format("1 {}", one);
  return several.empty() ? fmt::format("{} {}s", count, one) : fmt::format("{} {}", count, several);
}

}  // namespace gradwire::trainer
