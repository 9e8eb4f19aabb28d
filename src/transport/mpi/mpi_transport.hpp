#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/environment.hpp"
#include "transport/mesh_directory.hpp"
#include "transport/peer_link.hpp"
#include "transport/transport.hpp"

/// The MPI transport, as seen by those who know nothing of MPI. Where it is left out of the build, nothing
/// here can be had, and asking for it is Error(unsupported).
namespace gradwire::transport {

/// How the ranks of a mesh that MPI connects with each other get their links. Not thread-safe.
class MpiMeetings {
 public:
  virtual ~MpiMeetings() = default;

  /// Hears who says hello, without blocking. Throws Error: what check_hello() throws, and why another rank
  /// gave up.
  virtual void progress() = 0;
  /// The ranks that have not said hello.
  [[nodiscard]] virtual std::vector<int> missing() const = 0;
  /// The link to a rank that has; once.
  [[nodiscard]] virtual std::unique_ptr<PeerLink> link(int peer) = 0;
};

/// Processes that MPI connects: the ranks of a communicator of MPI's, duplicated so that what is sent here
/// meets nobody else's messages. Thread-safe.
class MpiGroup {
 public:
  virtual ~MpiGroup() = default;

  /// Has to come before all else, by all processes; all but the first time it does nothing. Initializes MPI
  /// if nobody has. Throws Error: unsupported when MPI lets no second thread call it, timeout.
  virtual void open(Clock::time_point deadline) = 0;
  [[nodiscard]] virtual int rank() const noexcept = 0;
  [[nodiscard]] virtual int size() const noexcept = 0;

  /// Collective: whether all processes pass the same text. Throws Error(timeout).
  [[nodiscard]] virtual bool are_alike(const std::string& text, Clock::time_point deadline) = 0;
  /// Collective: the text of rank 0, at most kMaxText bytes. Throws Error(timeout).
  [[nodiscard]] virtual std::string from_first(const std::string& text, Clock::time_point deadline) = 0;
  static constexpr std::size_t kMaxText = 2048;

  /// Begins to connect this rank with `peers`, all of whom do the same. They find each other's places in
  /// `store`, and it opens the group. What it is given outlives it. Throws Error as connect() does.
  [[nodiscard]] virtual std::unique_ptr<MpiMeetings> meet(const EndpointOptions& options, Store& store,
                                                          MeshDirectory& directory,
                                                          const std::vector<int>& peers,
                                                          Clock::time_point deadline) = 0;
};

/// Whether this build has it.
[[nodiscard]] bool has_mpi() noexcept;
/// "Open MPI v4.1.4"; says that it was left out where it was.
[[nodiscard]] std::string mpi_version();
/// Whether `launcher` is that of the MPI that this was built with.
[[nodiscard]] bool is_started_by_mpi(base::Launcher launcher) noexcept;
/// All processes that were started together with this one. Nothing happens before it is opened. Throws
/// Error(unsupported).
[[nodiscard]] std::shared_ptr<MpiGroup> mpi_world();
/// The processes of a communicator of the user's own: `communicator` points to an MPI_Comm, which open()
/// duplicates. Throws Error: invalid_argument for MPI_COMM_NULL, an intercommunicator, and an MPI that does
/// not run; unsupported.
[[nodiscard]] std::shared_ptr<MpiGroup> mpi_group(const void* communicator);
/// The process ends without MPI_Finalize: that waits for all others, and one of them, or this one, failed. It
/// is MPI's launcher that ends the job then. Does nothing to an MPI that the library has not initialized.
void leave_mpi_unfinished() noexcept;

}  // namespace gradwire::transport
