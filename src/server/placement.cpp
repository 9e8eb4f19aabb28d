#include "server/placement.hpp"

#include <algorithm>

#include "base/checksum.hpp"

namespace gradwire::server {

std::size_t placement_block(const compress::Codec& push, const compress::Codec& pull) noexcept {
  return std::max(push.block(), pull.block());  // powers of two, all of them
}

std::vector<ShardPlace> place_key(std::string_view key, std::uint64_t total, std::uint32_t servers,
                                  std::size_t block) {
  if (total == 0) return {};
  if (total < servers * kSmallestShard) {
    const std::uint32_t picked = base::crc32c(std::as_bytes(std::span(key))) % servers;
    return {{.server = picked, .first = 0, .count = total}};
  }
  const std::uint64_t blocks = total / block + (total % block != 0 ? 1 : 0);
  std::vector<ShardPlace> places;
  std::uint64_t first = 0;
  for (std::uint32_t server = 0; server < servers && first < total; ++server) {
    const std::uint64_t own = blocks / servers + (server < blocks % servers ? 1 : 0);
    const std::uint64_t count = std::min(own * block, total - first);
    if (count > 0) places.push_back({.server = server, .first = first, .count = count});
    first += count;
  }
  return places;
}

}  // namespace gradwire::server
