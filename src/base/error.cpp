#include "gradwire/error.hpp"

#include <fmt/format.h>

namespace gradwire {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::timeout: return "timeout";
    case ErrorCode::peer_lost: return "peer_lost";
    case ErrorCode::corrupt_frame: return "corrupt_frame";
    case ErrorCode::version_mismatch: return "version_mismatch";
    case ErrorCode::order_mismatch: return "order_mismatch";
    case ErrorCode::non_finite: return "non_finite";
    case ErrorCode::system: return "system";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string_view happened, std::string_view advice, std::optional<int> peer)
    : std::runtime_error(fmt::format("{}: {}; {}", to_string(code), happened, advice)),
      code_(code),
      peer_(peer) {}

}  // namespace gradwire
