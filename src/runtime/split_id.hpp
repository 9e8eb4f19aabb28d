#pragma once

#include <fmt/format.h>

#include <cstdint>

#include "base/fnv1a.hpp"
#include "wire/hello.hpp"

namespace gradwire::runtime {

/// The id of the `number`-th communicators split off `parent`, of those that gave this color: the same on all
/// their ranks. 31 bits of a hash tell it from the ids of others, and one bit from those that users count up
/// from 0.
inline std::uint32_t split_id(std::uint32_t parent, std::uint32_t number, std::uint32_t color) {
  constexpr std::uint32_t kSplit = 1U << 31U;
  const auto hash = base::fnv1a(fmt::format("{} {} {}", parent, number, color));
  const std::uint32_t id = static_cast<std::uint32_t>(hash) | kSplit;
  return id == wire::kServiceCommunicator ? kSplit : id;
}

}  // namespace gradwire::runtime
