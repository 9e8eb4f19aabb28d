#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "server/state_bytes.hpp"

namespace gradwire::server {

/// What a server wrote, under its checksum.
struct Snapshot {
  std::uint64_t clock = 0;
  std::uint64_t incarnation = 0;
  StateBytes bytes;

  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

/// A whole snapshot file of server `index`. `name` is the file's, for errors. Throws Error: corrupt_frame for
/// bytes that were never written so, version_mismatch for another version of the format.
[[nodiscard]] Snapshot parse_snapshot(std::span<const std::byte> file, std::uint32_t index,
                                      const std::string& name);

/// What SnapshotFolder::latest() found.
struct LatestSnapshot {
  struct Skipped {
    std::filesystem::path path;
    std::string reason;  ///< names the file
  };

  std::optional<Snapshot> snapshot;  ///< none: there is no whole one
  std::filesystem::path path;        ///< its file
  std::vector<Skipped> skipped;      ///< newer ones that are damaged, the newest first
};

/// The snapshots of one server in a folder that several may share: the last two that are whole. Each has a
/// number in its name, one more than any before, and appears there only when the disk holds all of it.
class SnapshotFolder {
 public:
  /// Makes the folder where it is missing, and keeps other processes from this server's snapshots until the
  /// end of the object. Throws Error(system) when it cannot, or another one does.
  SnapshotFolder(std::filesystem::path folder, std::uint32_t index);

  /// Returns once the disk has it. Throws Error(system) with the older ones left as they are.
  void write(std::span<const std::byte> bytes, std::uint64_t clock, std::uint64_t incarnation);

  /// The newest whole one. Throws Error: version_mismatch when a newer one has another version of the format,
  /// system when a file cannot be read.
  [[nodiscard]] LatestSnapshot latest();

 private:
  struct File {
    std::uint64_t number = 0;
    std::filesystem::path path;
  };

  /// Those of this server, the newest first.
  [[nodiscard]] std::vector<File> files() const;
  [[nodiscard]] std::filesystem::path temporary() const;
  void write_temporary(std::span<const std::byte> header, std::span<const std::byte> bytes) const;
  void prune();

  std::filesystem::path folder_;
  std::uint32_t index_;
  base::UniqueFd lock_;
  std::uint64_t last_number_ = 0;
  std::vector<std::uint64_t> whole_;  ///< numbers of those that are known to be, the oldest first
};

}  // namespace gradwire::server
