#pragma once

// Short ways to say what a client would send and do with the answers.

#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "compress/codec.hpp"
#include "server/server_state.hpp"

namespace gradwire::server {

using Floats = std::vector<float>;

inline Time at_ms(std::int64_t ms) { return Time{} + std::chrono::milliseconds(ms); }

inline Payload encoded(const compress::Codec& codec, std::span<const float> values) {
  Payload payload(codec.max_payload(values.size()));
  codec.encode({.value = values.data(), .count = values.size()}, payload.data());
  return payload;
}

inline Payload plain(std::span<const float> values) { return encoded(*compress::make_codec("none"), values); }

/// A worker's copy of a shard, and which version it is.
struct Mirror {
  Floats values;
  std::uint64_t incarnation = 0;
  std::uint64_t version = 0;

  void take(const PullAnswer& answer, const compress::Codec& pull_codec, std::uint64_t from) {
    if (answer.head.whole) {
      values.assign(answer.whole->begin(), answer.whole->end());
    } else {
      for (const SealedFrame& frame : answer.sealed) {
        pull_codec.decode_add(*frame, values.data(), values.size(), 1.0F);
      }
    }
    incarnation = from;
    version = answer.head.version;
  }
};

inline MakeKey whole_key(const std::string& key, std::size_t count, const std::string& optimizer) {
  return {.key = key, .optimizer = optimizer, .total = count, .first = 0, .count = count};
}

}  // namespace gradwire::server
