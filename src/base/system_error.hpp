#pragma once

#include <string>
#include <string_view>

#include "gradwire/error.hpp"

namespace gradwire::base {

/// Error(system): "<what>: <text of errno>; <advice>". Call it while errno still says why.
[[nodiscard]] Error system_error(std::string_view what, std::string_view advice = "see the system's message");

/// The text of an errno value, safe in any thread.
[[nodiscard]] std::string errno_text(int number);

}  // namespace gradwire::base
