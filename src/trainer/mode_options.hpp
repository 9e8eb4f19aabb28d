#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gradwire::trainer {

/// docs/modes.md has a paragraph on each.
enum class Mode : std::uint8_t { allreduce, server, local, bmuf, elastic, groups };

/// All names, in that order.
[[nodiscard]] const std::vector<std::string>& mode_names();
/// Throws Error(invalid_argument) with the list of what is allowed.
[[nodiscard]] Mode parse_mode(std::string_view name);
[[nodiscard]] std::string to_string(Mode mode);

[[nodiscard]] constexpr bool uses_servers(Mode mode) noexcept {
  return mode == Mode::server || mode == Mode::elastic || mode == Mode::groups;
}

/// Whether a rank may die, or come back, without ending the others.
[[nodiscard]] constexpr bool outlives_ranks(Mode mode) noexcept {
  return mode == Mode::server || mode == Mode::elastic;
}

/// What only some modes look at.
struct ModeOptions {
  std::uint64_t delay = 0;          ///< allreduce: 1 applies gradients a step late
  std::uint64_t period = 10;        ///< local, bmuf, elastic: steps from one exchange to the next
  double alpha = 0.1;               ///< elastic: how far model and centre move towards each other
  int group_size = 2;               ///< groups
  std::string consistency = "bsp";  ///< server
  std::string push_codec;           ///< server, elastic, groups; empty: the run's codec
  std::string pull_codec;           ///< the same
  std::vector<std::string> server_addresses;
  std::string server_transport = "auto";  ///< towards them
};

}  // namespace gradwire::trainer
