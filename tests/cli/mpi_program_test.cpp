#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/cli/run_program.hpp"
#include "tests/trainer/image_folder.hpp"
#include "trainer/checkpoint.hpp"

// The program under mpirun, as a user's shell runs it.
namespace gradwire::cli {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class MpiProgram : public testing::Test {
 protected:
  void SetUp() override {
    if (shell("command -v mpirun").status != 0) GTEST_SKIP() << "there is no mpirun here (openmpi-bin)";
  }

  /// A line of shell on each rank; "$gradwire" is the program.
  static Ended mpirun(int ranks, const std::string& line) {
    return shell("timeout 100 sh '" GRADWIRE_UNDER_MPIRUN "' " + std::to_string(ranks) +
                 " env gradwire='" GRADWIRE_PROGRAM "' sh -c '" + line + "' 2>&1");
  }

  [[nodiscard]] std::string file(const std::string& name) const { return folder_.file(name).string(); }
  [[nodiscard]] nlohmann::json read_json(const std::string& name) const {
    std::ifstream stream(file(name));
    return nlohmann::json::parse(stream, nullptr, false);
  }
  [[nodiscard]] trainer::Checkpoint read_model(const std::string& name) const {
    std::ifstream stream(file(name), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    return trainer::parse_checkpoint(bytes, name);
  }

 private:
  trainer::ImageFolder folder_;
};

TEST_F(MpiProgram, EveryAlgorithmAndCodecGivesTheRightBits) {
  const Ended ended = mpirun(4,
                             "exec $gradwire bench allreduce --transport mpi --algorithm all --codec all "
                             "--min 4 --max 70000 --factor 130 --repetitions 1 --check --json " +
                                 file("bench.json"));
  ASSERT_EQ(ended.status, 0) << ended.out;
  const auto results = read_json("bench.json")["results"];
  EXPECT_GE(results.size(), 40U);
  for (const auto& result : results) {
    EXPECT_EQ(result["transport"], "mpi");
    EXPECT_EQ(result["equals_oracle"], true) << result;
    EXPECT_EQ(result["identical"], true) << result;
  }
}

TEST_F(MpiProgram, TrainsToTheBitsThatTcpTrainsTo) {
  const std::string options = "train --data mnist --data-dir " + file(".") +
                              " --hidden 40 --batch 8 --steps 40 --codec onebit --seed 3 --checkpoint ";
  const Ended by_mpi =
      mpirun(4, "exec $gradwire " + options + file("mpi") + " --transport mpi --json " + file("report.json"));
  ASSERT_EQ(by_mpi.status, 0) << by_mpi.out;
  EXPECT_EQ(read_json("report.json")["config"]["transport"], "mpi");
  EXPECT_EQ(read_json("report.json")["final"]["replicas_identical"], true);
  const Ended by_tcp = gradwire(options + file("tcp") + " --ranks 4 --transport tcp");
  ASSERT_EQ(by_tcp.status, 0) << by_tcp.out;
  for (int rank = 0; rank < 4; ++rank) {
    const auto one = read_model("mpi." + std::to_string(rank));
    const auto other = read_model("tcp." + std::to_string(rank));
    EXPECT_EQ(one.step, 40U);
    EXPECT_FALSE(one.weights.empty() || one.reducer_state.empty());
    EXPECT_TRUE(std::ranges::equal(one.weights, other.weights)) << rank;
    EXPECT_TRUE(std::ranges::equal(one.velocity, other.velocity)) << rank;
    EXPECT_EQ(one.reducer_state, other.reducer_state) << rank;
  }
}

TEST_F(MpiProgram, AutoIsSharedMemoryInsideAHostAndMpiBetweenHosts) {
  const std::string bench =
      "exec $gradwire bench allreduce --max 4K --repetitions 1 --check --json " + file("bench.json");
  const Ended apart = mpirun(4, "export GRADWIRE_HOSTID=host-$((OMPI_COMM_WORLD_RANK / 2)); " + bench);
  ASSERT_EQ(apart.status, 0) << apart.out;
  EXPECT_EQ(read_json("bench.json")["results"][0]["transport"], "mpi+shm");
  const Ended together = mpirun(4, bench);
  ASSERT_EQ(together.status, 0) << together.out;
  EXPECT_EQ(read_json("bench.json")["results"][0]["transport"], "shm");
}

TEST_F(MpiProgram, RanksMeetByMpi) {
  const Ended ended = mpirun(3,
                             "export GRADWIRE_STORE=mpi://; exec $gradwire bench allreduce "
                             "--transport tcp,mpi,shm --max 4K --repetitions 1 --check");
  EXPECT_EQ(ended.status, 0) << ended.out;
}

/// A rank that throws need not wait in MPI_Finalize for others that never come there.
TEST_F(MpiProgram, ARankThatFailsEndsTheJob) {
  const auto begin = std::chrono::steady_clock::now();
  const Ended disagree = mpirun(2,
                                "exec $gradwire bench allreduce --transport mpi --max 4M --repetitions 100 "
                                "--codec $(test $OMPI_COMM_WORLD_RANK = 0 && echo none || echo fp16)");
  EXPECT_NE(disagree.status, 0);
  EXPECT_NE(disagree.status, 124) << "it hung";
  EXPECT_THAT(disagree.out, HasSubstr("order_mismatch"));
  // One that is stopped, and would never come to MPI_Finalize. MPI may carry the bytes, or have told where
  // the store is and no more.
  for (const std::string transport : {"mpi", "tcp"}) {
    const Ended silent =
        mpirun(2,
               "export GRADWIRE_STORE=mpi:// GRADWIRE_TIMEOUT=3; "
               "if test $OMPI_COMM_WORLD_RANK = 1; then sh -c \"sleep 4; kill -STOP $$\" & fi; "
               "exec $gradwire bench allreduce --min 1M --max 1M --seconds 1000 --transport " +
                   transport);
    EXPECT_NE(silent.status, 0) << transport;
    EXPECT_NE(silent.status, 124) << transport << ": it hung";
    EXPECT_THAT(silent.out, HasSubstr("timeout")) << transport;
  }
  // One that looks for the others elsewhere, for longer than they look for it.
  const Ended apart = mpirun(2,
                             "export GRADWIRE_STORE=mpi:// GRADWIRE_TIMEOUT=3; "
                             "if test $OMPI_COMM_WORLD_RANK = 0; then "
                             "export GRADWIRE_JOB=another GRADWIRE_TIMEOUT=1000; fi; "
                             "exec $gradwire bench allreduce --transport tcp --max 4K");
  EXPECT_NE(apart.status, 0);
  EXPECT_NE(apart.status, 124) << "it hung";
  EXPECT_THAT(apart.out, HasSubstr("timeout"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(100));
}

TEST_F(MpiProgram, ARankThatIsKilledEndsTheJob) {
  const Ended ended = mpirun(3,
                             "if test $OMPI_COMM_WORLD_RANK = 1; then sh -c \"sleep 3; kill -KILL $$\" & fi; "
                             "exec $gradwire bench allreduce --transport mpi --max 4K --seconds 1000");
  EXPECT_NE(ended.status, 0);
  EXPECT_NE(ended.status, 124) << "it hung";
}

TEST_F(MpiProgram, RanksThatMpiDidNotStartAreToldSo) {
  const std::string train = "train --ranks 2 --transport mpi --data mnist --data-dir " + file(".");
  for (const std::string& arguments : std::vector<std::string>{
           train, "bench allreduce --ranks 2 --transport mpi",
           "bench allreduce --ranks 2 --transport shm,mpi", "run -n 2 --transport mpi -- true",
           "bench allreduce --ranks 2 --transport mpi --link-rate 1gbit"}) {
    const Ended ended = gradwire(arguments);
    EXPECT_EQ(ended.status, 2) << arguments << ended.out;
  }
  const Ended ranks = gradwire("run -n 2 -- '" GRADWIRE_PROGRAM "' bench allreduce --transport mpi --max 4K");
  EXPECT_EQ(ranks.status, 1) << ranks.out;
  EXPECT_THAT(ranks.out, HasSubstr("MPI did not start rank"));
  const Ended service = gradwire("serve --transport mpi --listen 127.0.0.1");
  EXPECT_NE(service.status, 0);
  EXPECT_THAT(service.out, HasSubstr("auto, shm or tcp"));
}

TEST(MpiProgramInfo, SaysWhichMpiItIs) {
  EXPECT_THAT(gradwire("info").out,
              AllOf(HasSubstr("MPI "), Not(ContainsRegex("MPI +left out")), HasSubstr("shm, tcp, mpi")));
}

}  // namespace
}  // namespace gradwire::cli
