#include "base/system_error.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace gradwire::base {

std::string errno_text(int number) { return std::generic_category().message(number); }

Error system_error(std::string_view what, std::string_view advice) {
  return {ErrorCode::system, fmt::format("{}: {}", what, errno_text(errno)), advice};
}

}  // namespace gradwire::base
