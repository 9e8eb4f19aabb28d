#include "base/checksum.hpp"

#include <isa-l/crc.h>

#include <algorithm>
#include <limits>

namespace gradwire::base {

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  // ISA-L leaves the inversions to the caller, counts in int and never writes through its pointer.
  constexpr auto kMost = static_cast<std::size_t>(std::numeric_limits<int>::max());
  std::uint32_t crc = ~before;
  while (!bytes.empty()) {
    const std::size_t part = std::min(bytes.size(), kMost);
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
    crc = crc32_iscsi(data, static_cast<int>(part), crc);
    bytes = bytes.subspan(part);
  }
  return ~crc;
}

}  // namespace gradwire::base
