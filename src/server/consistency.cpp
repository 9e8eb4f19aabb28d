#include "gradwire/consistency.hpp"

#include <fmt/format.h>

#include <charconv>

#include "gradwire/error.hpp"

namespace gradwire {

Consistency parse_consistency(std::string_view text) {
  if (text == "bsp") return {.mode = Consistency::Mode::bsp};
  if (text == "asp") return {.mode = Consistency::Mode::asp};
  constexpr std::string_view kPrefix = "ssp:";
  if (text.starts_with(kPrefix)) {
    const std::string_view number = text.substr(kPrefix.size());
    const char* end = number.data() + number.size();
    std::uint32_t staleness = 0;
    const auto [stop, error] = std::from_chars(number.data(), end, staleness);
    if (error == std::errc{} && stop == end) return {.mode = Consistency::Mode::ssp, .staleness = staleness};
  }
  throw Error(ErrorCode::invalid_argument, fmt::format("there is no consistency '{}'", text),
              fmt::format("allowed: bsp, ssp:CLOCKS (0 to {}), asp", UINT32_MAX));
}

std::string to_string(const Consistency& consistency) {
  switch (consistency.mode) {
    case Consistency::Mode::bsp: return "bsp";
    case Consistency::Mode::ssp: return fmt::format("ssp:{}", consistency.staleness);
    case Consistency::Mode::asp: return "asp";
  }
  return "unknown";
}

}  // namespace gradwire
