#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "compress/codec.hpp"

namespace gradwire::server {

/// Keys with fewer elements per server than this are not split: their shards would be mostly headers.
inline constexpr std::uint64_t kSmallestShard = 16'384;

/// A part of a key, and who keeps it.
struct ShardPlace {
  std::uint32_t server = 0;
  std::uint64_t first = 0;  ///< element of the key
  std::uint64_t count = 0;

  friend bool operator==(const ShardPlace&, const ShardPlace&) = default;
};

/// Where the shards of keys may begin that are pushed and pulled by these: at multiples of it.
[[nodiscard]] std::size_t placement_block(const compress::Codec& push, const compress::Codec& pull) noexcept;

/// The shards of a key of `total` elements, in the order of their elements, at most one per server, none
/// empty. All begin at multiples of `block`. Clients and servers compute it alike.
std::vector<ShardPlace> place_key(std::string_view key, std::uint64_t total, std::uint32_t servers,
                                  std::size_t block);

}  // namespace gradwire::server
