#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace gradwire::base {

/// CRC32C (Castagnoli) as iSCSI and SCTP use it; crc32c of "123456789" is 0xE3069283.
/// `before` continues a checksum: crc32c(b, crc32c(a)) == crc32c(a followed by b).
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) noexcept;

}  // namespace gradwire::base
