#include "transport/mpi/mpi_memory.hpp"

#include <algorithm>
#include <mutex>
#include <new>

#include "transport/mpi/mpi_library.hpp"

namespace gradwire::transport {
namespace {

struct Graveyard {
  std::mutex mutex;
  std::vector<std::unique_ptr<MpiMemory>> graves;
};

/// Never destroyed: MPI may work on for as long as the process lives.
Graveyard& graveyard() {
  static auto* const all = new Graveyard;
  return *all;
}

/// Whether MPI works on it no longer. An operation that failed has ended, too.
bool is_free(MpiMemory& memory) noexcept {
  for (MPI_Request& request : memory.requests) {
    int complete = 0;
    if (MPI_Test(&request, &complete, MPI_STATUS_IGNORE) != MPI_SUCCESS) request = MPI_REQUEST_NULL;
  }
  std::erase(memory.requests, MPI_REQUEST_NULL);
  return memory.requests.empty();
}

}  // namespace

void bury(std::unique_ptr<MpiMemory> memory) noexcept {
  if (!memory || !is_mpi_running()) return;
  try {
    auto& [mutex, graves] = graveyard();
    const std::lock_guard lock(mutex);
    std::erase_if(graves, [](const auto& grave) { return is_free(*grave); });
    if (is_free(*memory)) return;
    graves.reserve(graves.size() + 1);
    graves.push_back(std::move(memory));
  } catch (const std::bad_alloc&) {
    // Kept for good, since nobody would know when it may go.
    [[maybe_unused]] const auto* const kept = memory.release();
  }
}

}  // namespace gradwire::transport
