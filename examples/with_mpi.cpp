// The ranks of a communicator of MPI's, in a program that uses MPI itself.
#include <mpi.h>

#include <gradwire/gradwire.hpp>
#include <gradwire/mpi.hpp>
#include <iostream>
#include <vector>

int main(int argc, char** argv) try {
  int level = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
  {
    auto comm = gradwire::mpi_communicator(MPI_COMM_WORLD);
    std::vector<float> gradient(1'000'000, static_cast<float>(comm.rank() + 1));
    std::vector<float> residual(gradient.size());
    comm.allreduce(gradient, {.codec = "onebit", .average = true}, residual);
    std::cout << "rank " << comm.rank() << " of " << comm.world_size() << ": mean " << gradient[0] << '\n';
  }  // the communicator goes before MPI does
  MPI_Finalize();
} catch (const gradwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;  // without MPI_Finalize, which would wait for all others
}
