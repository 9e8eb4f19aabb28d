#pragma once

#include <mpi.h>

#include <mutex>
#include <optional>

#include "transport/mpi/mpi_memory.hpp"
#include "transport/mpi/mpi_transport.hpp"

namespace gradwire::transport {

using MpiTag = int;

/// See MpiGroup. A mesh of ranks is told from others of the same group by its tags: each rank reserves its
/// own, one pair for each peer, says in the store which they are, and is sent nothing else. So meshes need no
/// communicator each, and several ranks may be threads of one process.
class MpiProcesses final : public MpiGroup, public std::enable_shared_from_this<MpiProcesses> {
 public:
  /// Those of `users`, which is duplicated by open() and not touched afterwards; none: of MPI_COMM_WORLD. The
  /// duplicate is never freed: that would take all processes, and some may have failed.
  explicit MpiProcesses(std::optional<MPI_Comm> users) noexcept : users_(users) {}

  void open(Clock::time_point deadline) override;
  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return size_; }
  [[nodiscard]] bool are_alike(const std::string& text, Clock::time_point deadline) override;
  [[nodiscard]] std::string from_first(const std::string& text, Clock::time_point deadline) override;
  [[nodiscard]] std::unique_ptr<MpiMeetings> meet(const EndpointOptions& options, Store& store,
                                                  MeshDirectory& directory, const std::vector<int>& peers,
                                                  Clock::time_point deadline) override;

  /// The same in all processes of the group, and in no others.
  [[nodiscard]] const std::string& id() const noexcept { return id_; }
  /// The duplicate, with MPI_ERRORS_RETURN.
  [[nodiscard]] MPI_Comm communicator() const noexcept { return communicator_; }
  /// That many tags, which nobody else has had here. Throws Error(unsupported) where MPI has no more.
  [[nodiscard]] MpiTag reserve_tags(int count);
  /// The last tag that reserve_tags() gives to anybody.
  [[nodiscard]] MpiTag last_tag() const noexcept { return last_tag_; }

 private:
  /// Waits, without a core to itself, for the one request of `memory`. Throws Error: timeout, system.
  template <typename Memory>
  std::unique_ptr<Memory> finish(std::unique_ptr<Memory> memory, const char* what,
                                 Clock::time_point deadline);
  [[nodiscard]] std::string broadcast(MPI_Comm communicator, const std::string& text,
                                      Clock::time_point deadline);

  std::optional<MPI_Comm> users_;
  std::mutex opening_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  std::string id_;
  MpiTag last_tag_ = 0;
  std::mutex mutex_;  ///< guards what follows
  MpiTag next_tag_ = 0;
};

/// Ends a receive, which is from any source, with a message of this process's own: one request more in
/// `memory`, which has the place for it. Where a message of the peer's meets the receive first, MPI keeps
/// this one, which is empty. Not by MPI_Cancel: while another thread is in Open MPI 4.1, that may take a
/// receive off its list which a message has just taken off, and the next message searches that list for ever.
void end_receive(MpiMemory& memory, MpiTag tag, const MpiProcesses& processes) noexcept;

}  // namespace gradwire::transport
