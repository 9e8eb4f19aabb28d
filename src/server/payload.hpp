#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/aligned_vector.hpp"
#include "compress/codec.hpp"

namespace gradwire::server {

/// What a codec wrote of a whole shard. It begins on a cache line, so that one of `none` can be read as
/// floats.
using Payload = base::AlignedVector<std::byte>;

/// Memory of payloads that are no longer needed, for the next ones of the same size: the last one is likely
/// to be in the cache still.
class PayloadPool {
 public:
  [[nodiscard]] Payload take(std::size_t bytes) {
    auto& spare = spare_[bytes];
    if (spare.empty()) return Payload(bytes);
    Payload payload = std::move(spare.back());
    spare.pop_back();
    return payload;
  }
  void give(Payload payload) { spare_[payload.size()].push_back(std::move(payload)); }

 private:
  std::map<std::size_t, std::vector<Payload>> spare_;
};

/// Of a piece of a shard: whole blocks that stay in the cache while several passes go over them.
inline std::size_t piece_elements(const compress::Codec& codec) {
  constexpr std::size_t kPiece = 8192;
  return std::max<std::size_t>(kPiece / codec.block(), 1) * codec.block();
}

/// Calls f(first, count) for one piece of a shard after the other.
template <typename F>
void for_each_piece(const compress::Codec& codec, std::size_t count, F&& f) {
  const std::size_t piece = piece_elements(codec);
  for (std::size_t first = 0; first < count; first += piece) f(first, std::min(piece, count - first));
}

/// A piece's part of a payload, since those of consecutive blocks lie one behind the other.
inline std::span<const std::byte> piece_of(const compress::Codec& codec, std::span<const std::byte> payload,
                                           std::size_t first, std::size_t count) {
  return payload.subspan(codec.max_payload(first), codec.max_payload(count));
}

}  // namespace gradwire::server
