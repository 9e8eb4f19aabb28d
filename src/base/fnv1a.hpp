#pragma once

#include <cstdint>
#include <string_view>

namespace gradwire::base {

/// FNV-1a of 64 bits: the same in every build, as what ranks compare has to be.
constexpr std::uint64_t fnv1a(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace gradwire::base
