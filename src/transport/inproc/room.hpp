#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "transport/doorbell.hpp"
#include "transport/pair_memory.hpp"
#include "transport/transport.hpp"

namespace gradwire::transport {

/// What ranks that are threads of one process share. It lives until the last of them lets go.
class Room {
 public:
  /// A new one, which find() finds as long as it lives. Throws Error(system).
  static std::shared_ptr<Room> open(int ranks);
  /// The room of this process with that name; null when there is none, whatever the text.
  static std::shared_ptr<Room> find(const std::string& name);

  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  ~Room();

  /// Unlike any other room's.
  [[nodiscard]] std::string name() const;
  /// Waits until all ranks are in, so that none of them can be left alone. Otherwise the first one whose
  /// deadline comes gives up for all, and all get the list of those that it missed.
  [[nodiscard]] std::vector<int> enter(int rank, Clock::time_point deadline);
  [[nodiscard]] int size() const noexcept { return static_cast<int>(bells_.size()); }

  [[nodiscard]] std::shared_ptr<const PairMemory> pair(int a, int b) const;
  [[nodiscard]] std::shared_ptr<const Doorbell> bell(int rank) const;

 private:
  Room(int ranks, std::uint64_t token);

  const std::uint64_t token_;
  std::vector<std::shared_ptr<const PairMemory>> pairs_;
  std::vector<std::shared_ptr<const Doorbell>> bells_;  // by rank
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bool> present_;
  std::vector<int> missed_;  // by the one who gave up
};

}  // namespace gradwire::transport
