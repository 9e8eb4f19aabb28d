#pragma once

#include <memory>
#include <optional>
#include <string>

#include "trainer/compute.hpp"
#include "trainer/rank_group.hpp"

namespace gradwire::trainer {

/// What --device says: "cpu", "cuda", "cuda:N".
struct DeviceChoice {
  bool is_cuda = false;
  std::optional<int> number;  ///< none: the ranks of a machine that say none take its devices in turn
};

/// Throws Error(invalid_argument) for anything else.
[[nodiscard]] DeviceChoice parse_device(const std::string& text);

/// Throws Error where ranks here could not have it: unsupported where there is no device to train on, or one
/// that is too old, invalid_argument for a number that no device has.
void require_device(const DeviceChoice& choice);

/// Where this rank trains. Collective. Throws as require_device(), and Error(system).
[[nodiscard]] std::unique_ptr<Compute> make_compute(const DeviceChoice& choice, RankGroup& ranks);

/// "cpu" or "cuda:N".
[[nodiscard]] std::string to_string(Device device);

}  // namespace gradwire::trainer
