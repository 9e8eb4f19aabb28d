#include "base/host_port.hpp"

#include <fmt/format.h>

#include <charconv>

namespace gradwire::base {

std::optional<HostPort> parse_host_port(std::string_view text, std::string& why) {
  const auto refuse = [&why](std::string_view reason) {
    why = reason;
    return std::nullopt;
  };
  HostPort out;
  std::size_t colon = text.rfind(':');
  if (text.starts_with('[')) {
    const std::size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) return refuse("has a [ without a ]");
    out.host = text.substr(1, bracket - 1);
    colon = bracket + 1;
    if (colon < text.size() && text[colon] != ':') return refuse("has more than a port after the ]");
  } else {
    out.host = text.substr(0, colon);
    if (out.host.find(':') != std::string::npos)
      return refuse("has an IPv6 address that is not in [brackets]");
  }
  if (out.host.empty()) return refuse("names no host");
  if (colon >= text.size()) return out;
  const std::string_view digits = text.substr(colon + 1);
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
  if (error != std::errc{} || stop != digits.data() + digits.size() || out.port == 0) {
    return refuse(fmt::format("has '{}' for the port, which is not a number from 1 to 65535", digits));
  }
  return out;
}

}  // namespace gradwire::base
