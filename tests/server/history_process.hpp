#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "server_calls.hpp"

namespace gradwire::server {

inline constexpr std::size_t kElements = 96;
inline constexpr std::uint32_t kShards = 2;

struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool good, const std::string& what) {
  if (!good) throw Violation(what);
}

struct SentPush {
  Push request;
  std::size_t element = 0;
  bool is_under_way = false;  ///< on a connection of before
};

/// What a worker's process knows. It believes nothing that it was not told.
struct Process {
  std::uint32_t number = 0;
  std::uint64_t session = 0;
  std::uint64_t clock = 0;
  std::uint64_t sequence = 0;
  std::uint64_t told_sequence = 0;  ///< the last push that the server knew when it joined
  bool connected = false;
  bool hangs = false;
  std::vector<SentPush> sent{};        ///< of this session, and taken
  std::vector<SentPush> unanswered{};  ///< sent before its connection ended
  std::vector<Mirror> mirrors = std::vector<Mirror>(kShards);
  std::vector<Mirror> older = std::vector<Mirror>(kShards);
  std::vector<Pull> waiting{};
  std::vector<bool> looks_again = std::vector<bool>(kShards);  ///< whether pulls of a shard are to be tried
  std::vector<std::uint64_t> pulled_for = std::vector<std::uint64_t>(kShards);  ///< pushed before that
};

}  // namespace gradwire::server
