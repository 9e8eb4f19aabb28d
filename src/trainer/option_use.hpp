#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/mode_options.hpp"

namespace gradwire::trainer {

/// Of `gradwire train`, an option that not every mode uses. docs/modes.md has the same table.
struct OptionUse {
  std::string_view option;  ///< "--period"
  /// Those that use it; allreduce with a delay is a way of its own here.
  unsigned modes;
};

[[nodiscard]] std::span<const OptionUse> option_uses();
/// "local, bmuf, elastic".
[[nodiscard]] std::string names_of_modes(const OptionUse& use);

/// Throws Error(invalid_argument) if one of these options is of no use to the mode. Options of every mode may
/// be among them.
void require_use(Mode mode, bool is_delayed, const std::vector<std::string>& given);

}  // namespace gradwire::trainer
