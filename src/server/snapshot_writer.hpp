#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/snapshot.hpp"

namespace gradwire::server {

/// Writes snapshots in a thread of its own, one at a time, so that workers need not wait for the disk.
class SnapshotWriter {
 public:
  explicit SnapshotWriter(SnapshotFolder folder);
  /// Waits for the one under way.
  ~SnapshotWriter();
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  /// Not while is_busy().
  void start(Snapshot snapshot);
  [[nodiscard]] bool is_busy() const;
  void wait() const;

  /// How many have reached the disk.
  [[nodiscard]] std::uint64_t written() const;
  /// Why the last one did not; empty when it did.
  [[nodiscard]] std::string problem() const;

 private:
  void run();
  /// Why not; empty when it is there.
  std::string write(const Snapshot& snapshot);

  SnapshotFolder folder_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Snapshot snapshot_;
  bool busy_ = false;
  bool stopping_ = false;
  std::uint64_t written_ = 0;
  std::string problem_;
  std::thread thread_;
};

}  // namespace gradwire::server
