#include "gradwire/mpi.hpp"

#include <algorithm>
#include <memory>

#include "base/limits.hpp"
#include "transport/mpi/mpi_library.hpp"
#include "transport/mpi/mpi_processes.hpp"

namespace gradwire {

Communicator mpi_communicator(MPI_Comm communicator, CommunicatorOptions options) {
  if (!transport::is_mpi_running()) {
    throw Error(ErrorCode::invalid_argument, "a communicator of an MPI that does not run",
                "call it after MPI_Init_thread and before MPI_Finalize");
  }
  int is_between_groups = 0;
  if (communicator != MPI_COMM_NULL) MPI_Comm_test_inter(communicator, &is_between_groups);
  if (communicator == MPI_COMM_NULL || is_between_groups != 0) {
    throw Error(ErrorCode::invalid_argument,
                communicator == MPI_COMM_NULL ? "MPI_COMM_NULL" : "an intercommunicator",
                "pass a communicator that this process is a member of");
  }
  const auto group = std::make_shared<transport::MpiProcesses>(communicator);
  group->open(transport::Clock::now() + std::min(options.timeout, base::kLongestTimeout));
  options.rank = group->rank();
  options.world_size = group->size();
  options.mpi = group;
  return Communicator(options);
}

}  // namespace gradwire
