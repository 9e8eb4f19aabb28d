#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace gradwire::rendezvous {

/// Longer waits are shortened to this, which keeps deadlines inside the clock's range.
inline constexpr std::chrono::milliseconds kLongestWait = std::chrono::hours(24 * 365);

/// The map behind the stores of one process, with a wait for keys that are not there yet. Thread-safe.
class KeyValueTable {
 public:
  void set(const std::string& key, const std::string& value);

  /// Waits up to `timeout`; nullopt when the time is over.
  [[nodiscard]] std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;
};

}  // namespace gradwire::rendezvous
