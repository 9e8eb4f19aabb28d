#include "server/shard_clock.hpp"

#include <algorithm>

namespace gradwire::server {

void ShardClock::finish(std::uint32_t worker, std::uint64_t session, std::uint64_t clock) {
  ahead_[worker] = {.session = session, .clock = clock};
}

std::uint64_t ShardClock::of(std::uint32_t worker, const Member& member) const {
  const auto found = ahead_.find(worker);
  if (found == ahead_.end() || found->second.session != member.session) return member.clock;
  return std::max(member.clock, found->second.clock);
}

bool ShardClock::update(const Membership& members) {
  const std::uint64_t before = now(members);
  clock_ = std::max(clock_, members.least([this](std::uint32_t worker, const Member& member) {
    return of(worker, member);
  }));
  std::erase_if(ahead_, [&](const auto& entry) {
    const auto& [worker, ahead] = entry;
    const Member* const member = members.find(worker);
    return member == nullptr || member->session != ahead.session || member->clock >= ahead.clock;
  });
  return now(members) != before;
}

std::uint64_t ShardClock::now(const Membership& members) const noexcept {
  return std::max(clock_, members.clock());
}

void ShardClock::save(StateWriter& out) const {
  out.write(clock_);
  out.write(std::uint64_t{ahead_.size()});
  for (const auto& [worker, ahead] : ahead_) {
    out.write(worker);
    out.write(ahead.session);
    out.write(ahead.clock);
  }
}

void ShardClock::restore(StateReader& in) {
  constexpr std::size_t kAheadBytes = 4 + 8 + 8;
  clock_ = in.read<std::uint64_t>();
  for (std::size_t left = in.count(kAheadBytes); left > 0; --left) {
    const auto worker = in.read<std::uint32_t>();
    Ahead ahead{.session = in.read<std::uint64_t>()};
    ahead.clock = in.read<std::uint64_t>();
    StateReader::check(ahead_.emplace(worker, ahead).second);
  }
}

}  // namespace gradwire::server
