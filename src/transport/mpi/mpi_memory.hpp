#pragma once

#include <mpi.h>

#include <memory>
#include <vector>

namespace gradwire::transport {

/// Memory that MPI works on, and the requests that say when it no longer does.
struct MpiMemory {
  MpiMemory() = default;
  virtual ~MpiMemory() = default;
  MpiMemory(const MpiMemory&) = delete;
  MpiMemory& operator=(const MpiMemory&) = delete;

  std::vector<MPI_Request> requests;
};

/// Keeps memory for as long as MPI may work on it, whoever used it is gone by then: MPI takes back no send,
/// and no receive that has met one. Other receives should have been ended. Thread-safe.
void bury(std::unique_ptr<MpiMemory> memory) noexcept;

}  // namespace gradwire::transport
