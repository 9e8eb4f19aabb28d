#include "server/server_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "gradwire/error.hpp"
#include "server/placement.hpp"

namespace gradwire::server {
namespace {

[[noreturn]] void refuse(std::string_view happened, std::string_view advice) {
  throw Error(ErrorCode::invalid_argument, happened, advice);
}

}  // namespace

ServerState::ServerState(const ServerStateOptions& options)
    : options_(options), incarnation_(options.incarnation), origin_(options.incarnation) {}

Membership& ServerState::members() {
  if (!members_) refuse("nobody has joined this server yet", "join first");
  return *members_;
}

bool ServerState::is_bound() const noexcept {
  return !shards_.empty() || (members_ && members_->is_anyone_here());
}

void ServerState::require_known(std::uint32_t shard) const {
  if (shard < shards_.size()) return;
  refuse(fmt::format("shard {} is not known on server {}", shard, options_.index),
         "make its key known with init() first");
}

Shard& ServerState::shard(std::uint32_t number) const {
  require_known(number);
  // Now, and not when the clock moved: who asks reads what is still in the cache.
  if (job_->consistency.is_synchronous()) shards_[number]->settle(clock_of(number));
  return *shards_[number];
}

std::uint64_t ServerState::clock_of(std::uint32_t number) const noexcept {
  return shard_clocks_[number].now(*members_);
}

void ServerState::members_changed() {
  moved_.all = moved_.all || members_->clock() != members_clock_;
  members_clock_ = members_->clock();
  std::erase_if(ahead_, [this](std::uint32_t number) {
    if (shard_clocks_[number].update(*members_)) moved_.shards.push_back(number);
    return !shard_clocks_[number].is_ahead();
  });
}

Joined ServerState::join(const Join& request, Time now) {
  if (request.server != options_.index || request.servers != options_.servers) {
    refuse(fmt::format("a worker asked for server {} of {}, and this is server {} of {}", request.server,
                       request.servers, options_.index, options_.servers),
           "give all workers the addresses of all servers, in the order of their indices");
  }
  if (request.worker > INT_MAX) {
    refuse(fmt::format("worker number {} is too large", request.worker), "count workers from 0");
  }
  Job job = make_job(request.workers, request.consistency, request.push_codec, request.pull_codec,
                     options_.kept_versions);
  const auto difference = job_ ? difference_of(*job_, job) : std::nullopt;
  if (difference && is_bound()) throw Error(*difference);
  const Member* const before = members_ ? members_->find(request.worker) : nullptr;
  const bool is_known = before != nullptr && before->session == request.session;
  // Who comes back was let in with what it has. The others may not be back yet, so it counts again.
  const bool is_compared = !is_known && members_ && members_->is_anyone_here_beside(request.worker);
  if (is_compared) require_same_settings(settings_, request.settings);
  // Whoever is gone and has left nothing is no part of the job that begins now, also where that is the same.
  if (!job_ || difference || (!is_bound() && !is_known)) {
    job_ = std::move(job);
    members_.emplace(job_->consistency, job_->workers, options_.lease);
  }
  std::uint64_t furthest = 0;
  for (const std::uint32_t number : ahead_) furthest = std::max(furthest, clock_of(number));
  const Member& member = members_->join(request.worker, request.session, now, furthest);
  settings_ = request.settings;
  members_changed();
  return {.incarnation = incarnation_,
          .clock = member.clock,
          .sequence = member.sequence,
          .lease_ms = static_cast<std::uint32_t>(options_.lease.count()),
          .shards = static_cast<std::uint32_t>(shards_.size()),
          .origin = origin_};
}

void ServerState::require_own_place(const ShardId& id) const {
  const auto places =
      place_key(id.key, id.total, options_.servers, placement_block(*job_->codecs.push, *job_->codecs.pull));
  const ShardPlace asked{.server = options_.index, .first = id.first, .count = id.count};
  if (std::find(places.begin(), places.end(), asked) != places.end()) return;
  refuse(fmt::format("elements {} to {} of key '{}', which has {}, are no shard of server {} of {}", id.first,
                     id.first + id.count, id.key, id.total, options_.index, options_.servers),
         fmt::format("{}; a key needs at least one element", kSameVersion));
}

void ServerState::add_shard(std::unique_ptr<Shard> shard) {
  shard_of_key_.emplace(shard->id().key, static_cast<std::uint32_t>(shards_.size()));
  shards_.push_back(std::move(shard));
  shard_clocks_.emplace_back();
}

void ServerState::require_member(std::uint32_t worker, std::uint64_t session) {
  static_cast<void>(members().known(worker, session));
}

ShardId ServerState::id_of(const MakeKey& request) {
  static_cast<void>(members());
  return {.key = request.key,
          .optimizer = make_optimizer(request.optimizer, 0)->spec(),
          .total = request.total,
          .first = request.first,
          .count = request.count};
}

bool ServerState::needs_value(const MakeKey& request) {
  const ShardId id = id_of(request);
  if (is_known(id.key)) return false;
  require_own_place(id);
  return true;
}

KeyMade ServerState::make_key(const MakeKey& request, std::span<const float> value) {
  const ShardId id = id_of(request);
  auto known = shard_of_key_.find(id.key);
  if (known == shard_of_key_.end()) {
    require_own_place(id);
    if (value.size() != id.count) {
      refuse(fmt::format("key '{}' came with {} elements instead of {}", id.key, value.size(), id.count),
             kSameVersion);
    }
    add_shard(std::make_unique<Shard>(id, job_->codecs, value));
    known = shard_of_key_.find(id.key);
  }
  Shard& shard = this->shard(known->second);
  if (shard.id().total != id.total) {
    refuse(fmt::format("key '{}' has {} elements here, and {} where it was made known", id.key, id.total,
                       shard.id().total),
           "give the key the same size everywhere");
  }
  if (shard.id().optimizer != id.optimizer) {
    refuse(fmt::format("key '{}' has optimizer '{}' here, and '{}' where it was made known", id.key,
                       id.optimizer, shard.id().optimizer),
           "give the key the same optimizer everywhere");
  }
  if (!(shard.id() == id)) require_own_place(id);
  refresh(shard);
  return {.request = request.request,
          .shard = known->second,
          .version = shard.log().version(),
          .count = shard.id().count};
}

void ServerState::refresh(Shard& shard) const {
  std::uint32_t pushes = 1;
  if (job_->consistency.mode == Consistency::Mode::asp && !job_->codecs.pull->identity()) {
    constexpr std::uint32_t kWorkersPerPush = 8;
    pushes = (members_->sharing() + kWorkersPerPush - 1) / kWorkersPerPush;
  }
  shard.refresh(pushes);
}

const Member* ServerState::find(std::uint32_t worker, std::uint64_t session) const noexcept {
  const Member* const member = members_ ? members_->find(worker) : nullptr;
  return member != nullptr && member->session == session ? member : nullptr;
}

void ServerState::announce(std::uint32_t worker, std::uint64_t session, const Pull& request) {
  const Member& member = members().known(worker, session);
  members_->require_live(worker, member);
  require_known(request.shard);
  if (request.clock > member.clock + 1) {
    refuse(fmt::format("a pull of worker {} is for step {}, and the worker's clock is {}", worker,
                       request.clock, member.clock),
           "pull for the step after the one that is being done, at most");
  }
  ShardClock& clock = shard_clocks_[request.shard];
  if (job_->consistency.mode != Consistency::Mode::asp && request.clock > clock.of(worker, member)) {
    clock.finish(worker, session, request.clock);
    ahead_.insert(request.shard);
    if (clock.update(*members_)) moved_.shards.push_back(request.shard);
  }
}

std::optional<PullAnswer> ServerState::pull(std::uint32_t worker, std::uint64_t session,
                                            const Pull& request) {
  announce(worker, session, request);
  if (!members_->may_read(request.clock, clock_of(request.shard))) return std::nullopt;
  Shard& source = shard(request.shard);
  refresh(source);
  PullAnswer answer{.head = {.request = request.request,
                             .version = source.log().version(),
                             .clock = clock_of(request.shard)}};
  auto sealed = request.incarnation == incarnation_ ? source.log().since(request.version) : std::nullopt;
  if (sealed) {
    answer.sealed = std::move(*sealed);
    answer.head.sealed = static_cast<std::uint32_t>(answer.sealed.size());
  } else {
    answer.whole = source.share_estimate();
    answer.head.whole = true;
  }
  return answer;
}

void ServerState::advance(std::uint32_t worker, std::uint64_t session, const Advance& request) {
  Member& member = members().known(worker, session);
  members_->require_live(worker, member);
  members_->advance(member, request.clock);
  members_changed();
}

void ServerState::beat(std::uint32_t worker, std::uint64_t session) {
  const Member& member = members().known(worker, session);
  members_->require_live(worker, member);
}

void ServerState::leave(std::uint32_t worker, std::uint64_t session) {
  if (members_ && members_->leave(worker, session)) members_changed();
}

void ServerState::gone(std::uint32_t worker, std::uint64_t session) noexcept {
  if (members_) members_->gone(worker, session);
}

bool ServerState::heard(std::uint32_t worker, std::uint64_t session, Time now) noexcept {
  return members_ && members_->heard(worker, session, now);
}

std::vector<std::uint32_t> ServerState::expire(Time now) {
  if (!members_) return {};
  auto expired = members_->expire(now);
  members_changed();
  // Who expired is told so if it waits, though the clock be where it was.
  moved_.all = moved_.all || !expired.empty();
  return expired;
}

void ServerState::renew_leases(Time now) noexcept {
  if (members_) members_->renew(now);
}

Time ServerState::next_expiry() const noexcept { return members_ ? members_->next_expiry() : Time::max(); }

SharedValue ServerState::estimate(std::uint32_t number) const { return shard(number).share_estimate(); }

std::uint64_t ServerState::version(std::uint32_t number) const { return shard(number).log().version(); }

std::uint64_t ServerState::count(std::uint32_t number) const { return shard(number).id().count; }

bool ServerState::is_far_ahead(std::uint32_t worker, std::uint64_t session) const noexcept {
  constexpr std::uint64_t kMostSteps = 16;
  if (!members_ || !job_->consistency.is_synchronous()) return false;
  const Member* const member = find(worker, session);
  return member != nullptr && member->live && member->clock > members_->clock() + kMostSteps;
}

std::uint64_t ServerState::clock() const noexcept { return members_ ? members_->clock() : 0; }

}  // namespace gradwire::server
