#include "server/membership.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "gradwire/error.hpp"
#include "server/messages.hpp"
#include "server/requests.hpp"

namespace gradwire::server {

Member* Membership::find(std::uint32_t worker, std::uint64_t session) noexcept {
  const auto place = members_.find(worker);
  return place == members_.end() || place->second.session != session ? nullptr : &place->second;
}

const Member* Membership::find(std::uint32_t worker) const noexcept {
  const auto place = members_.find(worker);
  return place == members_.end() ? nullptr : &place->second;
}

const Member& Membership::join(std::uint32_t worker, std::uint64_t session, Time now,
                               std::uint64_t furthest) {
  const std::uint64_t begin = std::max(clock_, furthest);
  const auto [place, is_new] = members_.try_emplace(worker);
  Member& member = place->second;
  if (is_new) {
    member = {.session = session, .clock = begin};
  } else if (member.session != session) {
    if (member.live && member.connections > 0) {
      throw Error(kNumberIsTaken, fmt::format("the number of worker {} is taken by another process", worker),
                  "give each worker a number of its own, and other servers to another job; that of a process "
                  "that died is free when its lease is over",
                  static_cast<int>(worker));
    }
    member = {.session = session, .clock = begin};
  } else if (!member.live) {
    member.clock = std::max(member.clock, begin);
  }
  ++member.connections;
  member.live = true;
  member.left = false;
  member.deadline = now + lease_;
  update_clock();
  return member;
}

bool Membership::leave(std::uint32_t worker, std::uint64_t session) {
  Member* const member = find(worker, session);
  if (member == nullptr || !member->live) return false;
  member->live = false;
  member->left = true;
  member->refused.clear();
  update_clock();
  return true;
}

void Membership::gone(std::uint32_t worker, std::uint64_t session) noexcept {
  Member* const member = find(worker, session);
  if (member != nullptr && member->connections > 0) --member->connections;
}

bool Membership::heard(std::uint32_t worker, std::uint64_t session, Time now) noexcept {
  Member* const member = find(worker, session);
  if (member == nullptr || !member->live) return false;
  member->deadline = now + lease_;
  return true;
}

std::vector<std::uint32_t> Membership::expire(Time now) {
  std::vector<std::uint32_t> expired;
  for (auto& [worker, member] : members_) {
    if (!member.live || member.deadline > now) continue;
    member.live = false;
    expired.push_back(worker);
  }
  update_clock();
  return expired;
}

void Membership::renew(Time now) noexcept {
  for (auto& [worker, member] : members_) member.deadline = now + lease_;
}

bool Membership::is_anyone_here() const noexcept {
  return std::ranges::any_of(
      members_, [](const auto& entry) { return entry.second.live && entry.second.connections > 0; });
}

bool Membership::is_anyone_here_beside(std::uint32_t worker) const noexcept {
  return std::ranges::any_of(members_, [worker](const auto& entry) {
    return entry.first != worker && entry.second.live && entry.second.connections > 0;
  });
}

Time Membership::next_expiry() const noexcept {
  Time next = Time::max();
  for (const auto& [worker, member] : members_) {
    if (member.live) next = std::min(next, member.deadline);
  }
  return next;
}

Member& Membership::known(std::uint32_t worker, std::uint64_t session) {
  const auto place = members_.find(worker);
  if (place == members_.end()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("worker {} has not joined", worker), "join first",
                static_cast<int>(worker));
  }
  if (place->second.session != session) {
    throw Error(ErrorCode::peer_lost,
                fmt::format("worker {} was not heard of, and another process has its number now", worker),
                "end this process", static_cast<int>(worker));
  }
  return place->second;
}

void Membership::require_live(std::uint32_t worker, const Member& member) const {
  if (member.live) return;
  throw Error(ErrorCode::peer_lost,
              member.left
                  ? fmt::format("worker {} has left", worker)
                  : fmt::format("worker {} was not heard of for {} ms, so that the others go on without it",
                                worker, lease_.count()),
              "join again; the worker then goes on at the servers' clock", static_cast<int>(worker));
}

void Membership::advance(Member& member, std::uint64_t clock) {
  member.clock = std::max(member.clock, clock);
  update_clock();
}

bool Membership::may_read(std::uint64_t clock, std::uint64_t least) const noexcept {
  if (consistency_.mode == Consistency::Mode::asp) return true;
  return clock <= consistency_.staleness || least >= clock - consistency_.staleness;
}

std::uint32_t Membership::sharing() const noexcept {
  const auto live =
      std::count_if(members_.begin(), members_.end(), [](const auto& entry) { return entry.second.live; });
  const std::size_t to_come = workers_ - std::min<std::size_t>(members_.size(), workers_);
  return static_cast<std::uint32_t>(live + to_come);
}

void Membership::update_clock() noexcept {
  clock_ = least([](std::uint32_t /*worker*/, const Member& member) { return member.clock; });
}

void Membership::save(StateWriter& out) const {
  out.write(clock_);
  out.write(std::uint64_t{members_.size()});
  for (const auto& [worker, member] : members_) {
    out.write(worker);
    out.write(member.session);
    out.write(member.clock);
    out.write(member.sequence);
    out.write(static_cast<std::uint8_t>(member.live ? 1 : member.left ? 2 : 0));
    out.write(std::uint64_t{member.refused.size()});
    for (const auto& [sequence, refused] : member.refused) {
      out.write(sequence);
      out.write(static_cast<std::uint8_t>(refused.code));
      out.text(refused.happened);
      out.text(refused.advice);
    }
  }
}

void Membership::restore(StateReader& in, Time now) {
  constexpr std::size_t kMemberBytes = 4 + 3 * 8 + 1 + 8;
  constexpr std::size_t kRefusedBytes = 8 + 1 + 2 * 4;
  clock_ = in.read<std::uint64_t>();
  for (std::size_t left = in.count(kMemberBytes); left > 0; --left) {
    const auto worker = in.read<std::uint32_t>();
    Member member{.session = in.read<std::uint64_t>(),
                  .clock = in.read<std::uint64_t>(),
                  .sequence = in.read<std::uint64_t>()};
    const auto state = in.read<std::uint8_t>();
    StateReader::check(state <= 2 && !(state == 1 && member.clock < clock_));
    member.live = state == 1;
    member.left = state == 2;
    member.deadline = now + lease_;
    for (std::size_t more = in.count(kRefusedBytes); more > 0; --more) {
      Refused refused{.verb = Verb::push, .request = in.read<std::uint64_t>()};
      refused.code = static_cast<ErrorCode>(in.read<std::uint8_t>());
      StateReader::check(to_string(refused.code) != "unknown");
      refused.happened = in.text();
      refused.advice = in.text();
      StateReader::check(refused.happened.size() <= kMaxReasonBytes &&
                         refused.advice.size() <= kMaxReasonBytes);
      StateReader::check(member.refused.emplace(refused.request, refused).second);
    }
    StateReader::check(members_.emplace(worker, std::move(member)).second);
  }
}

}  // namespace gradwire::server
