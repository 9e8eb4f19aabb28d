#include "rendezvous/key_value_table.hpp"

#include <algorithm>

namespace gradwire::rendezvous {

namespace {

/// What an entry costs beside its bytes, roughly.
constexpr std::size_t kEntryCost = 128;

}  // namespace

bool KeyValueTable::set(const std::string& key, const std::string& value) {
  {
    const std::lock_guard lock(mutex_);
    const auto known = values_.find(key);
    const std::size_t before = known == values_.end() ? 0 : kEntryCost + key.size() + known->second.size();
    const std::size_t after = bytes_ - before + kEntryCost + key.size() + value.size();
    if (after > most_) return false;
    if (known == values_.end()) {
      values_.emplace(key, value);
    } else {
      known->second = value;
    }
    bytes_ = after;
  }
  changed_.notify_all();
  return true;
}

std::optional<std::string> KeyValueTable::get(const std::string& key, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  auto found = values_.end();
  const bool there = changed_.wait_for(lock, std::min(timeout, kLongestWait), [&] {
    found = values_.find(key);
    return found != values_.end();
  });
  if (!there) return std::nullopt;
  return found->second;
}

}  // namespace gradwire::rendezvous
