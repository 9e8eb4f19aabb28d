#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"
#include "gradwire/store.hpp"

namespace gradwire::rendezvous {

/// A store in a file that all ranks can lock, on one host or on a shared file system. Records are only ever
/// appended. Rank 0 begins a generation of its job; the others join the job's newest one that has not ended
/// and that they have not been in, and see nothing of earlier ones, whose records a killed job may have left.
/// Thread-safe.
class FileStore final : public Store {
 public:
  /// Throws Error: system, invalid_argument when the file is something else, timeout when rank 0 has not
  /// begun.
  FileStore(std::string path, std::string job, int rank, std::chrono::milliseconds timeout);
  /// Rank 0 ends the generation. The file stays.
  ~FileStore() override;
  FileStore(const FileStore&) = delete;
  FileStore& operator=(const FileStore&) = delete;

  void set(const std::string& key, const std::string& value) override;
  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override;

 private:
  using Clock = std::chrono::steady_clock;
  class Lock;

  void begin();
  bool try_to_join();
  /// Takes in what others have appended; under a lock.
  void catch_up();
  void take(std::string_view record);
  /// Under an exclusive lock, after catch_up().
  void append(std::uint8_t kind, std::uint32_t rank, const std::string& key, const std::string& value);
  [[noreturn]] void fail(std::string_view what) const;
  [[noreturn]] void not_a_store() const;

  const std::string path_;
  const std::string job_;
  const std::uint32_t rank_;
  std::mutex mutex_;
  base::UniqueFd fd_;
  std::uint64_t end_ = 0;         ///< of the whole records that have been read
  std::uint64_t generation_ = 0;  ///< the job's newest until joined, then this store's
  bool joined_ = false;
  bool ended_ = false;               ///< the generation
  std::set<std::uint32_t> members_;  ///< of the generation
  std::map<std::string, std::string> values_;
};

}  // namespace gradwire::rendezvous
