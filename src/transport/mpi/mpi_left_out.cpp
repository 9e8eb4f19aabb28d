#include "transport/mpi/mpi_transport.hpp"

// In the place of the MPI transport in a build without MPI.

namespace gradwire::transport {

bool has_mpi() noexcept { return false; }

std::string mpi_version() { return "left out of this build"; }

bool is_started_by_mpi(base::Launcher) noexcept { return false; }

namespace {

[[noreturn]] void refuse() {
  throw Error(ErrorCode::unsupported, "this build of gradwire has no MPI",
              "install MPI (libopenmpi-dev) and build it with -DGRADWIRE_WITH_MPI=ON, or use auto or tcp");
}

}  // namespace

std::shared_ptr<MpiGroup> mpi_world() { refuse(); }

std::shared_ptr<MpiGroup> mpi_group(const void*) { refuse(); }

void leave_mpi_unfinished() noexcept {}

}  // namespace gradwire::transport
