#pragma once

#include <mpi.h>

#include "gradwire/communicator.hpp"
#include "gradwire/export.hpp"

/// Gradwire on a communicator of MPI's. The only header that names MPI: it is there where Gradwire was built
/// with MPI, and programs that include it link to the same MPI.
namespace gradwire {

/// The processes of `communicator` as ranks, with the numbers that they have there. Collective over it. It is
/// duplicated and may be freed at once; what travels here meets no messages of yours. Each call keeps its
/// duplicate until MPI_Finalize, and of those an MPI has some thousands: further communicators are to be had
/// from Communicator::split(), which takes none.
/// Ranks of one host use shared memory, others MPI, unless `options` name another transport. They need no
/// store and no environment; `rank` and `world_size` of `options` are ignored.
///
/// MPI must have been initialized, with MPI_THREAD_SERIALIZED at least; progress thread and overlap need
/// MPI_THREAD_MULTIPLE. The result has to go before MPI_Finalize. Throws Error: invalid_argument for
/// MPI_COMM_NULL, an intercommunicator and an MPI that does not run, unsupported for too low a thread level,
/// and what Communicator's constructor throws.
GRADWIRE_EXPORT Communicator mpi_communicator(MPI_Comm communicator, CommunicatorOptions options = {});

}  // namespace gradwire
