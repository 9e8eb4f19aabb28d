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
/// to be in the cache still. What nobody took while twice as many were taken as there were is freed.
class PayloadPool {
 public:
  [[nodiscard]] Payload take(std::size_t bytes) {
    if (++taken_ > 2 * most_) free_idle();
    auto& [spare, least] = spare_[bytes];
    if (spare.empty()) return Payload(bytes);
    Payload payload = std::move(spare.back());
    spare.pop_back();
    least = std::min(least, spare.size());
    --count_;
    return payload;
  }
  void give(Payload payload) {
    spare_[payload.size()].payloads.push_back(std::move(payload));
    most_ = std::max(most_, ++count_);
  }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }

 private:
  struct Spare {
    std::vector<Payload> payloads{};
    std::size_t least = 0;  ///< that there were since free_idle()
  };

  void free_idle() {
    for (auto& [bytes, spare] : spare_) {
      const auto idle = static_cast<std::ptrdiff_t>(spare.least);
      spare.payloads.erase(spare.payloads.begin(), spare.payloads.begin() + idle);
      count_ -= spare.least;
      spare.least = spare.payloads.size();
    }
    taken_ = 0;
    most_ = count_;
  }

  std::map<std::size_t, Spare> spare_;
  std::size_t count_ = 0;
  std::size_t taken_ = 0;  ///< since free_idle()
  std::size_t most_ = 0;   ///< there were at a time since then
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
