#include <fmt/format.h>

#include "gradwire/error.hpp"
#include "server/server_state.hpp"

namespace gradwire::server {
namespace {

/// In step, of one worker to a shard in one step, for all of them are kept until it is over.
constexpr std::size_t kMostPushes = 64;

}  // namespace

std::vector<Refused> ServerState::refused(std::uint32_t worker, std::uint64_t session) const {
  std::vector<Refused> all;
  if (const Member* const member = find(worker, session)) {
    for (const auto& [sequence, refused] : member->refused) all.push_back(refused);
  }
  return all;
}

void ServerState::forget_refused(std::uint32_t worker, std::uint64_t session) noexcept {
  if (find(worker, session) != nullptr) members_->known(worker, session).refused.clear();
}

bool ServerState::has_many_refused(std::uint32_t worker, std::uint64_t session) const noexcept {
  constexpr std::size_t kMany = 1024;
  const Member* const member = find(worker, session);
  return member != nullptr && member->refused.size() >= kMany;
}

bool ServerState::push(std::uint32_t worker, std::uint64_t session, const Push& request, Payload& payload) {
  Member& member = members().known(worker, session);
  if (request.sequence == 0) {
    throw Error(ErrorCode::invalid_argument, "a push with the sequence number 0", "count pushes from 1");
  }
  // Before all else: what a worker may have been told of a push stays so.
  if (const auto found = member.refused.find(request.sequence); found != member.refused.end()) {
    const Refused& before = found->second;
    throw Error(before.code, before.happened, before.advice, static_cast<int>(worker));
  }
  if (request.sequence <= member.sequence) return false;
  try {
    take(worker, member, request, payload);
  } catch (const Error& error) {
    member.refused.emplace(request.sequence, refusal(Verb::push, request.sequence, error));
    throw;
  }
  // Last: where there was no memory for it the push comes again, and is not known.
  member.sequence = request.sequence;
  return true;
}

void ServerState::take(std::uint32_t worker, Member& member, const Push& request, Payload& payload) {
  members_->require_live(worker, member);
  Shard& target = shard(request.shard);
  if (payload.size() != target.push_bytes() || !job_->codecs.push->valid(payload, target.id().count)) {
    throw Error(ErrorCode::corrupt_frame,
                fmt::format("a push of worker {} to key '{}' holds {} bytes that are no payload of '{}'",
                            worker, target.id().key, payload.size(), job_->codecs.push->spec()),
                kSameVersion, static_cast<int>(worker));
  }
  const std::uint64_t finished = shard_clocks_[request.shard].of(worker, member);
  if (request.clock < finished) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format(
            "a push of worker {} is stamped {}, and the worker has finished that step: its clock is {}",
            worker, request.clock, finished),
        "push before clock() and before a pull of the next step's values, and after joining again with "
        "the clock that the server gave");
  }
  // Waiting for the others would be in vain: they may wait for this worker's clock(), which is behind these.
  if (target.held(request.clock, worker, member.session) >= kMostPushes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("worker {} has pushed {} times to key '{}' in step {}", worker, kMostPushes,
                            target.id().key, request.clock),
                "add gradients up before they are pushed, or call clock() at the end of each step");
  }
  if (request.clock > member.clock) {
    members_->advance(member, request.clock);
    members_changed();
  }
  if (job_->consistency.is_synchronous()) {
    target.hold(request.clock, worker, member.session, payload);
  } else {
    target.apply(payload, members_->sharing());
  }
}

}  // namespace gradwire::server
