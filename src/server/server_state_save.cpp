#include <fmt/format.h>

#include <utility>

#include "gradwire/error.hpp"
#include "server/server_state.hpp"

namespace gradwire::server {
namespace {

constexpr std::uint32_t kStateVersion = 2;

}  // namespace

StateBytes ServerState::save() const {
  StateWriter measured;
  write(measured);
  StateWriter out(measured.size());
  write(out);
  return std::move(out).take();
}

void ServerState::write(StateWriter& out) const {
  out.write(kStateVersion);
  out.write(options_.index);
  out.write(options_.servers);
  out.write(incarnation_);
  out.write(origin_);
  out.text(options_.job);
  out.write(static_cast<std::uint8_t>(job_ ? 1 : 0));
  if (!job_) return;
  job_->save(out);
  members_->save(out);
  out.write(std::uint64_t{shards_.size()});
  for (std::uint32_t i = 0; i < shards_.size(); ++i) {
    shard(i).save(out);
    shard_clocks_[i].save(out);
  }
}

void ServerState::restore(std::span<const std::byte> bytes, const std::string& name, Time now) {
  ServerState fresh(options_);
  StateReader in(bytes);
  fresh.read(in, name, now);
  StateReader::check(in.remaining() == 0);
  *this = std::move(fresh);
}

void ServerState::read(StateReader& in, const std::string& name, Time now) {
  const auto version = in.read<std::uint32_t>();
  if (version != kStateVersion) {
    throw Error(ErrorCode::version_mismatch,
                fmt::format("snapshot {} holds a state of version {}, this program reads version {}", name,
                            version, kStateVersion),
                "serve with the program that wrote it, or choose another folder");
  }
  const auto index = in.read<std::uint32_t>();
  const auto servers = in.read<std::uint32_t>();
  if (index != options_.index || servers != options_.servers) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("snapshot {} is of server {} of {}, and this is server {} of {}", name, index,
                            servers, options_.index, options_.servers),
                "restart as many servers as there were, each with its own index, or choose another folder");
  }
  // Workers may hold versions that were made after this state was saved.
  const auto before = in.read<std::uint64_t>();
  if (incarnation_ == before) ++incarnation_;
  origin_ = in.read<std::uint64_t>();
  const std::string job = in.text();
  if (job != options_.job) {
    throw Error(
        ErrorCode::version_mismatch,
        fmt::format("snapshot {} is of the job '{}', and this server's job is '{}'", name, job, options_.job),
        "give the option job (or GRADWIRE_JOB) the one that it is of, or the option snapshot_dir another "
        "folder");
  }
  if (in.read<std::uint8_t>() == 0) return;
  job_ = load_job(in, options_.kept_versions);
  members_.emplace(job_->consistency, job_->workers, options_.lease);
  members_->restore(in, now);
  constexpr std::size_t kShardBytes = 64;
  for (std::size_t left = in.count(kShardBytes); left > 0; --left) {
    auto shard = Shard::load(in, job_->codecs);
    require_own_place(shard->id());
    StateReader::check(!shard_of_key_.contains(shard->id().key));
    add_shard(std::move(shard));
    shard_clocks_.back().restore(in);
    if (shard_clocks_.back().is_ahead()) ahead_.insert(static_cast<std::uint32_t>(shards_.size() - 1));
  }
  members_clock_ = members_->clock();
}

}  // namespace gradwire::server
