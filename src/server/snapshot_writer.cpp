#include "server/snapshot_writer.hpp"

#include <exception>
#include <optional>
#include <utility>

#include "base/background_thread.hpp"

namespace gradwire::server {

SnapshotWriter::SnapshotWriter(SnapshotFolder folder)
    : folder_(std::move(folder)),
      thread_(base::start_background_thread("a thread that writes snapshots", [this] { run(); })) {}

SnapshotWriter::~SnapshotWriter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void SnapshotWriter::start(Snapshot snapshot) {
  {
    const std::lock_guard lock(mutex_);
    snapshot_ = std::move(snapshot);
    busy_ = true;
  }
  changed_.notify_all();
}

void SnapshotWriter::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return busy_ || stopping_; });
    if (!busy_) return;
    std::optional<Snapshot> snapshot = std::exchange(snapshot_, {});
    lock.unlock();
    std::string problem = write(*snapshot);
    snapshot.reset();  // giving much memory back takes long, too
    lock.lock();
    if (problem.empty()) ++written_;
    problem_ = std::move(problem);
    busy_ = false;
    changed_.notify_all();
  }
}

std::string SnapshotWriter::write(const Snapshot& snapshot) {
  try {
    folder_.write(snapshot.bytes, snapshot.clock, snapshot.incarnation);
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

bool SnapshotWriter::is_busy() const {
  const std::lock_guard lock(mutex_);
  return busy_;
}

void SnapshotWriter::wait() const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !busy_; });
}

std::uint64_t SnapshotWriter::written() const {
  const std::lock_guard lock(mutex_);
  return written_;
}

std::string SnapshotWriter::problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

}  // namespace gradwire::server
