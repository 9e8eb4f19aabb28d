#include "rendezvous/key_value_table.hpp"

#include <algorithm>

namespace gradwire::rendezvous {

void KeyValueTable::set(const std::string& key, const std::string& value) {
  {
    const std::lock_guard lock(mutex_);
    values_[key] = value;
  }
  changed_.notify_all();
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
