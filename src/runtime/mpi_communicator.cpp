#include "gradwire/mpi.hpp"

#include <algorithm>

#include "base/limits.hpp"
#include "transport/mpi/mpi_transport.hpp"

namespace gradwire {

Communicator mpi_communicator(MPI_Comm communicator, CommunicatorOptions options) {
  options.mpi = transport::mpi_group(&communicator);
  options.mpi->open(transport::Clock::now() + std::min(options.timeout, base::kLongestTimeout));
  options.rank = options.mpi->rank();
  options.world_size = options.mpi->size();
  return Communicator(options);
}

}  // namespace gradwire
