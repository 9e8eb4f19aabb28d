#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gradwire::base {

/// Where a server is, as people write it.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;  ///< 0: none was named
};

/// "host:port", "[::1]:port", or either without a port. None for anything else, with what is wrong with it in
/// `why` ("names no host").
[[nodiscard]] std::optional<HostPort> parse_host_port(std::string_view text, std::string& why);

}  // namespace gradwire::base
