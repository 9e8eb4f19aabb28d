#include "transport/inproc/room.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "transport/host_identity.hpp"

namespace gradwire::transport {
namespace {

/// The rooms of this process. Threads that know nothing of each other but a name in a store need one place to
/// meet that belongs to the process; the alternative, an address in the store, would be dereferenced on the
/// word of whoever wrote it. It holds no room alive.
struct Registry {
  std::mutex mutex;
  std::map<std::uint64_t, std::weak_ptr<Room>> rooms;
};

Registry& registry() {
  static Registry rooms;
  return rooms;
}

std::size_t pair_index(int a, int b) noexcept {
  const auto low = static_cast<std::size_t>(std::min(a, b));
  const auto high = static_cast<std::size_t>(std::max(a, b));
  return high * (high - 1) / 2 + low;
}

}  // namespace

Room::Room(int ranks, std::uint64_t token) : token_(token) {
  const auto count = static_cast<std::size_t>(ranks);
  for (std::size_t i = 0; i < count * (count - 1) / 2; ++i) {
    pairs_.push_back(std::make_shared<const PairMemory>(PairMemory::anonymous()));
  }
  for (std::size_t i = 0; i < count; ++i) bells_.push_back(std::make_shared<const Doorbell>());
  present_.resize(count);
}

Room::~Room() {
  const std::lock_guard lock(registry().mutex);
  registry().rooms.erase(token_);
}

std::shared_ptr<Room> Room::open(int ranks) {
  std::shared_ptr<Room> room(new Room(ranks, random_token()));
  const std::lock_guard lock(registry().mutex);
  registry().rooms[room->token_] = room;
  return room;
}

std::shared_ptr<Room> Room::find(const std::string& name) {
  std::uint64_t token = 0;
  const char* const end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data(), end, token, 16);
  if (error != std::errc{} || rest != end) return nullptr;
  const std::lock_guard lock(registry().mutex);
  const auto found = registry().rooms.find(token);
  return found == registry().rooms.end() ? nullptr : found->second.lock();
}

std::string Room::name() const { return fmt::format("{:016x}", token_); }

std::vector<int> Room::enter(int rank, Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  present_[static_cast<std::size_t>(rank)] = true;
  const auto complete = [this] {
    return std::find(present_.begin(), present_.end(), false) == present_.end();
  };
  changed_.notify_all();
  changed_.wait_until(lock, deadline, [&] { return !missed_.empty() || complete(); });
  if (missed_.empty()) {
    for (int other = 0; other < size(); ++other) {
      if (!present_[static_cast<std::size_t>(other)]) missed_.push_back(other);
    }
    changed_.notify_all();
  }
  return missed_;
}

std::shared_ptr<const PairMemory> Room::pair(int a, int b) const { return pairs_[pair_index(a, b)]; }

std::shared_ptr<const Doorbell> Room::bell(int rank) const { return bells_[static_cast<std::size_t>(rank)]; }

}  // namespace gradwire::transport
