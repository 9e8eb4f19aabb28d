#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "gradwire/consistency.hpp"
#include "gradwire/error.hpp"
#include "server/shard.hpp"
#include "server/state_bytes.hpp"

namespace gradwire::server {

/// What the workers of a job agree on, in one form for each meaning.
struct Job {
  std::uint32_t workers = 1;
  Consistency consistency{};
  ShardCodecs codecs{};

  void save(StateWriter& out) const;
};

/// Throws Error: invalid_argument, unsupported for a codec that cannot serve.
Job make_job(std::uint32_t workers, Consistency consistency, const std::string& push_codec,
             const std::string& pull_codec, std::uint32_t kept_versions);

/// Throws as make_job() does, and corrupt_frame.
Job load_job(StateReader& in, std::uint32_t kept_versions);

/// What to tell a worker whose job is not the servers'; nothing where they agree.
std::optional<Error> difference_of(const Job& ours, const Job& theirs);

/// Of what ParameterServerClientOptions::settings says. Throws Error(invalid_argument) with the first line
/// that differs.
void require_same_settings(std::string_view ours, std::string_view theirs);

}  // namespace gradwire::server
