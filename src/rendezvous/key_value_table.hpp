#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <limits>
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
  /// `most`: how many bytes it holds, keys and what they cost included.
  explicit KeyValueTable(std::size_t most = std::numeric_limits<std::size_t>::max()) noexcept : most_(most) {}

  /// False when there is no room; then the key keeps the value it had.
  [[nodiscard]] bool set(const std::string& key, const std::string& value);

  /// Waits up to `timeout`; nullopt when the time is over.
  [[nodiscard]] std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;
  const std::size_t most_;
  std::size_t bytes_ = 0;
};

}  // namespace gradwire::rendezvous
