#include "base/background_thread.hpp"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "base/blocked_signals.hpp"
#include "gradwire/error.hpp"

namespace gradwire::base {

std::thread start_background_thread(std::string_view name, std::function<void()> body) {
  const BlockedSignals blocked;
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::system, fmt::format("cannot start {}: {}", name, error.what()),
                "raise the limit on processes (ulimit -u)");
  }
}

}  // namespace gradwire::base
