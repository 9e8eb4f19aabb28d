#include <gtest/gtest.h>
#include <mpi.h>

#include <array>
#include <cstdlib>
#include <optional>

#include "tests/support/temporary_folder.hpp"
#include "transport/mpi/mpi_transport.hpp"
#include "transport_conformance.hpp"

// The conformance suite for MPI, whose ranks are spread over the processes that mpirun starts. Their folder
// has to be on a file system that all of them see.

namespace gradwire::transport {
namespace {

INSTANTIATE_TEST_SUITE_P(Mpi, Conformance,
                         testing::Values(Flavor{"mpi", "mpi", 1, 0, true},
                                         Flavor{"mpi_mixed", "auto", 1, 2, true}),
                         [](const auto& each) { return each.param.name; });

/// MPI itself would keep any number of small messages for a receiver that takes none.
TEST(MpiLink, TakesNoMoreSmallFramesThanThePeerHasPlaceFor) {
  const Signal full;
  expect_ranks({"mpi", "mpi", 1, 0, true}, 2, [&](int rank, Endpoint& endpoint) {
    if (rank == 0) {
      std::uint64_t accepted = 0;
      const auto deadline = Clock::now() + std::chrono::milliseconds(200);
      while (Clock::now() < deadline) {
        if (endpoint.link(1).try_send(header_for(0, 1, accepted), {})) ++accepted;
        endpoint.progress();
      }
      EXPECT_EQ(accepted, 16U);
      full.send(std::to_string(accepted));
      receive(endpoint, 1);
    } else {
      const auto accepted = std::stoull(full.wait());
      for (std::uint64_t n = 0; n < accepted; ++n) EXPECT_EQ(receive(endpoint, 0).header.operation, n);
      send(endpoint, 0, header_for(1, 0, 0), {});
    }
  });
}

int run_tests() {
  Processes processes;
  MPI_Comm_rank(MPI_COMM_WORLD, &processes.own);
  MPI_Comm_size(MPI_COMM_WORLD, &processes.count);
  std::optional<TemporaryFolder> folder;
  std::array<char, 1024> path{};
  if (processes.own == 0) folder.emplace().path().string().copy(path.data(), path.size() - 1);
  MPI_Bcast(path.data(), static_cast<int>(path.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
  processes.folder = path.data();
  share_ranks(processes);
  // All have to, also those that have no rank in any world.
  mpi_world()->open(Clock::now() + kSoon);
  int status = RUN_ALL_TESTS();
  // The folder goes when nobody needs it any more.
  MPI_Allreduce(MPI_IN_PLACE, &status, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return status;
}

}  // namespace
}  // namespace gradwire::transport

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  int level = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
  const int status = gradwire::transport::run_tests();
  MPI_Finalize();
  return status;
}
