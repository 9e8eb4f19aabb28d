#pragma once

#include <cstdint>
#include <string>

#include "gradwire/consistency.hpp"
#include "server/shard.hpp"
#include "server/state_bytes.hpp"

namespace gradwire::server {

/// What the workers of a job agree on, in one form for each meaning.
struct Job {
  std::uint32_t workers = 1;
  Consistency consistency{};
  ShardCodecs codecs{};

  /// Where shards may begin.
  [[nodiscard]] std::size_t block() const noexcept;

  void save(StateWriter& out) const;
};

/// Throws Error: invalid_argument, unsupported for a codec that cannot serve.
Job make_job(std::uint32_t workers, Consistency consistency, const std::string& push_codec,
             const std::string& pull_codec, std::uint32_t kept_versions);

/// Throws as make_job() does, and corrupt_frame.
Job load_job(StateReader& in, std::uint32_t kept_versions);

/// Throws Error(invalid_argument) with the difference between the servers' job and a worker's.
void require_same_job(const Job& ours, const Job& theirs);

}  // namespace gradwire::server
