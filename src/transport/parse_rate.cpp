#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "transport/transport.hpp"

namespace gradwire::transport {
namespace {

struct Unit {
  std::string_view name;
  double bytes_a_second;
};

constexpr std::array<Unit, 8> kUnits{{{"bit", 1e0 / 8},
                                      {"kbit", 1e3 / 8},
                                      {"mbit", 1e6 / 8},
                                      {"gbit", 1e9 / 8},
                                      {"B", 1e0},
                                      {"KB", 1e3},
                                      {"MB", 1e6},
                                      {"GB", 1e9}}};

}  // namespace

double parse_rate(const std::string& text) {
  double number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && std::isfinite(number) && number > 0) {
    const std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
    for (const auto& known : kUnits) {
      if (unit != known.name) continue;
      const double rate = number * known.bytes_a_second;
      if (rate >= kMinLinkRate && rate <= kMaxLinkRate) return rate;
      throw Error(ErrorCode::invalid_argument, fmt::format("a link of {}", text),
                  "choose a rate from 1kbit to 10000gbit (a second)");
    }
  }
  throw Error(ErrorCode::invalid_argument, fmt::format("'{}' is no rate", text),
              "write a number above 0 and bit, kbit, mbit, gbit, B, KB, MB or GB (a second), as in 100mbit");
}

}  // namespace gradwire::transport
