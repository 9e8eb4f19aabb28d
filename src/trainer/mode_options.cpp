#include "trainer/mode_options.hpp"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::trainer {

const std::vector<std::string>& mode_names() {
  static const std::vector<std::string> names{"allreduce", "server", "local", "bmuf", "elastic", "groups"};
  return names;
}

Mode parse_mode(std::string_view name) {
  const auto& names = mode_names();
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("there is no mode '{}'", name),
                fmt::format("use one of {}", fmt::join(names, ", ")));
  }
  return static_cast<Mode>(found - names.begin());
}

std::string to_string(Mode mode) { return mode_names()[static_cast<std::size_t>(mode)]; }

}  // namespace gradwire::trainer
