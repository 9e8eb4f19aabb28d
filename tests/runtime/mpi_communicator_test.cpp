#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "gradwire/mpi.hpp"
#include "gradwire/reducer.hpp"

// Communicators of a user's own. This program runs under mpirun; GRADWIRE_TEST_MPI_THREADS is the thread
// level that it asks for, "multiple" unless it is set.

namespace gradwire {
namespace {

using testing::HasSubstr;

struct World {
  int rank = 0;
  int size = 1;
};

World world() {
  World all;
  MPI_Comm_rank(MPI_COMM_WORLD, &all.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &all.size);
  return all;
}

std::string thread_level() {
  const char* const level = std::getenv("GRADWIRE_TEST_MPI_THREADS");
  return level == nullptr ? "multiple" : level;
}

/// Runs where MPI was started with this level.
#define FOR_THREADS(level) \
  if (thread_level() != (level)) GTEST_SKIP() << "it runs with another thread level of MPI"

CommunicatorOptions over(const std::string& transport) {
  CommunicatorOptions options;
  options.transport = transport;
  options.timeout = std::chrono::seconds(60);
  return options;
}

/// Every rank gives its number plus one, in each element.
void expect_sum(Communicator& comm, const std::string& codec) {
  std::vector<float> values(100'000, static_cast<float>(comm.rank() + 1));
  OperationOptions options;
  options.codec = codec;
  comm.allreduce(values, options);
  const int size = comm.world_size();
  const int sum = size * (size + 1) / 2;
  const auto expected = static_cast<float>(sum);
  EXPECT_EQ(values.front(), expected) << codec;
  EXPECT_EQ(values.back(), expected) << codec;
}

TEST(MpiCommunicator, HasTheRanksOfTheUsersOwn) {
  FOR_THREADS("multiple");
  // The other way round, so that no rank has the number that it has in the world.
  MPI_Comm reversed = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, 0, -world().rank, &reversed);
  Communicator comm = mpi_communicator(reversed, over("mpi"));
  MPI_Comm_free(&reversed);
  EXPECT_EQ(comm.rank(), world().size - 1 - world().rank);
  EXPECT_EQ(comm.world_size(), world().size);
  for (int peer = 0; peer < comm.world_size(); ++peer) {
    if (peer == comm.rank()) continue;
    EXPECT_EQ(comm.transport_to(peer), "mpi");
  }
  for (const char* codec : {"none", "fp16", "onebit"}) expect_sum(comm, codec);
}

TEST(MpiCommunicator, IsOfAPartOfTheProcesses) {
  FOR_THREADS("multiple");
  MPI_Comm part = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, world().rank % 2, world().rank, &part);
  Communicator comm = mpi_communicator(part, over("mpi"));
  MPI_Comm_free(&part);
  EXPECT_EQ(comm.world_size(), (world().size + 1 - world().rank % 2) / 2);
  expect_sum(comm, "none");
}

TEST(MpiCommunicator, AutoIsSharedMemoryInsideAHostAndMpiBetweenHosts) {
  FOR_THREADS("multiple");
  CommunicatorOptions options = over("auto");
  options.host_id = "host-" + std::to_string(world().rank / 2);
  Communicator comm = mpi_communicator(MPI_COMM_WORLD, options);
  for (int peer = 0; peer < comm.world_size(); ++peer) {
    if (peer == comm.rank()) continue;
    EXPECT_EQ(comm.transport_to(peer), peer / 2 == comm.rank() / 2 ? "shm" : "mpi");
  }
  expect_sum(comm, "none");
}

TEST(MpiCommunicator, SeveralAtATimeDoNotMeetEachOther) {
  FOR_THREADS("multiple");
  Communicator one = mpi_communicator(MPI_COMM_WORLD, over("mpi"));
  Communicator two = mpi_communicator(MPI_COMM_WORLD, over("mpi"));
  Communicator half = one.split(world().rank % 2);
  std::vector<float> first(300'000, 1);
  std::vector<float> second(300'000, 2);
  auto first_work = one.allreduce_async(first);
  auto second_work = two.allreduce_async(second);
  // A message of the user's own passes between them.
  int token = 7;
  MPI_Bcast(&token, 1, MPI_INT, 0, MPI_COMM_WORLD);
  expect_sum(half, "none");
  second_work.wait();
  first_work.wait();
  EXPECT_EQ(first.back(), static_cast<float>(world().size));
  EXPECT_EQ(second.back(), static_cast<float>(2 * world().size));
  EXPECT_EQ(half.transport_to(1 - half.rank()), "mpi");
}

TEST(MpiCommunicator, ReducersOverlap) {
  FOR_THREADS("multiple");
  Communicator comm = mpi_communicator(MPI_COMM_WORLD, over("mpi"));
  std::vector<float> weights(50'000);
  Reducer reducer(comm, {{"weights", std::span(weights)}}, {.codec = "onebit"});
  for (int step = 0; step < 20; ++step) {
    std::iota(weights.begin(), weights.end(), static_cast<float>(comm.rank() + step));
    reducer.ready(0);
    reducer.wait();
  }
  float sum = std::accumulate(weights.begin(), weights.end(), 0.0F);
  std::vector<float> all(static_cast<std::size_t>(world().size));
  MPI_Allgather(&sum, 1, MPI_FLOAT, all.data(), 1, MPI_FLOAT, MPI_COMM_WORLD);
  for (const float each : all) EXPECT_EQ(each, sum);
}

/// Those that come and go leave nothing behind that the next could take for its own.
TEST(MpiCommunicator, ManyOneAfterAnother) {
  FOR_THREADS("multiple");
  for (int i = 0; i < 10; ++i) {
    Communicator comm = mpi_communicator(MPI_COMM_WORLD, over("mpi"));
    expect_sum(comm, "none");
  }
}

TEST(MpiCommunicator, AFailureReachesAllRanks) {
  FOR_THREADS("multiple");
  Communicator comm = mpi_communicator(MPI_COMM_WORLD, over("mpi"));
  std::vector<float> values(1000, 1);
  OperationOptions options;
  options.tag = comm.rank() == 0 ? 1 : 2;
  try {
    comm.allreduce(values, options);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::order_mismatch) << error.what();
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

/// What MPI has begun to send and to receive it finishes, whoever is gone by then.
TEST(MpiCommunicator, MpiGoesOnAfterAFailure) {
  FOR_THREADS("multiple");
  std::vector<float> values(2'000'000, 1);
  OperationOptions options;
  options.algorithm = "two-shot";
  for (int round = 0; round < 5; ++round) {
    {
      Communicator comm = mpi_communicator(MPI_COMM_WORLD, over("mpi"));
      options.tag = comm.rank() == 0 ? 1 : 2;
      EXPECT_THROW(comm.allreduce(values, options), Error);
    }
    for (int i = 0; i < 10; ++i) MPI_Barrier(MPI_COMM_WORLD);
  }
}

TEST(MpiCommunicator, RefusesWhatIsNoGroupOfRanks) {
  FOR_THREADS("multiple");
  try {
    mpi_communicator(MPI_COMM_NULL);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  }
  MPI_Comm half = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, world().rank % 2, world().rank, &half);
  MPI_Comm between = MPI_COMM_NULL;
  MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - world().rank % 2, 0, &between);
  EXPECT_THROW(mpi_communicator(between), Error);
  MPI_Comm_free(&between);
  MPI_Comm_free(&half);
}

TEST(MpiCommunicator, WithoutThreadsOfItsOwnSerializedCallsAreEnough) {
  FOR_THREADS("serialized");
  Communicator comm = mpi_communicator(MPI_COMM_WORLD, over("mpi"));
  expect_sum(comm, "onebit");
  const auto expect_refusal = [](const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("MPI_THREAD_MULTIPLE"));
  };
  try {
    comm.start_progress_thread();
    ADD_FAILURE() << "started";
  } catch (const Error& error) {
    expect_refusal(error);
  }
  std::vector<float> weights(100);
  try {
    const Reducer reducer(comm, {{"weights", std::span(weights)}}, {.codec = "onebit"});
    ADD_FAILURE() << "overlaps";
  } catch (const Error& error) {
    expect_refusal(error);
  }
  expect_sum(comm, "none");
}

TEST(MpiCommunicator, AnMpiForOneThreadIsRefused) {
  FOR_THREADS("single");
  try {
    mpi_communicator(MPI_COMM_WORLD);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("MPI_THREAD_SINGLE"));
  }
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const std::string wanted = gradwire::thread_level();
  int level = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv,
                  wanted == "single"       ? MPI_THREAD_SINGLE
                  : wanted == "serialized" ? MPI_THREAD_SERIALIZED
                                           : MPI_THREAD_MULTIPLE,
                  &level);
  int status = RUN_ALL_TESTS();
  MPI_Allreduce(MPI_IN_PLACE, &status, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return status;
}
