#include "collectives/host_executor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "executor_world.hpp"
#include "gradwire/error.hpp"
#include "oracle_data.hpp"
#include "tests/support/every_algorithm.hpp"

namespace gradwire::collectives {
namespace {

using testing::codec_specs;
using testing::Job;
using testing::random_data;
using testing::randomize_residuals;
using testing::same_bits;
using testing::World;

void expect_oracle(const Job& job, unsigned data_seed = 7) {
  SCOPED_TRACE(job.describe());
  World world(job);
  auto data = random_data(job.ranks, job.counts, data_seed, true);
  randomize_residuals(data, data_seed + 1);
  auto expected = data;
  for (int operation = 0; operation < 2; ++operation) {
    ASSERT_TRUE(world.run(data)) << "stuck";
    world.oracle(expected);
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      for (std::size_t i = 0; i < job.counts.size(); ++i) {
        ASSERT_TRUE(same_bits(data[rank].tensors[i], expected[rank].tensors[i]))
            << "rank " << rank << " tensor " << i;
        ASSERT_TRUE(same_bits(data[rank].residuals[i], expected[rank].residuals[i]))
            << "residual of rank " << rank;
      }
    }
  }
}

class EveryAlgorithm : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryAlgorithm, EqualsTheOracleBitForBitUnderRandomDelays) {
  const std::vector<std::vector<std::size_t>> sizes{{0}, {1}, {5}, {3000}, {700, 0, 1301, 64}};
  for (int ranks = 1; ranks <= 9; ranks += quick() ? 4 : 1) {
    for (const std::string& codec : codec_specs()) {
      for (const auto& counts : sizes) {
        expect_oracle({GetParam(), codec, ranks, counts, ranks % 2 == 0, 1, 7});
      }
    }
  }
}

TEST_P(EveryAlgorithm, GivesTheSameBitsInEveryOrderOfArrival) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Job job{GetParam(), "onebit", 6, {20'000, 300}, true, 1 + seed % 3, seed};
    World world(job);
    auto data = random_data(job.ranks, job.counts, 99, true);
    auto expected = data;
    ASSERT_TRUE(world.run(data));
    world.oracle(expected);
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      ASSERT_TRUE(same_bits(data[rank].tensors[0], expected[rank].tensors[0])) << "seed " << seed;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Algorithms, EveryAlgorithm, ::testing::ValuesIn(algorithm_names()),
                         [](const auto& instance) { return identifier(instance.param); });

TEST(HostExecutor, KeepsManySegmentsApart) {
  for (const std::string& algorithm : algorithm_names()) {
    expect_oracle({algorithm, "none", 4, {200'000}, true, 1, 3});
    expect_oracle({algorithm, "onebit", 5, {400'000}, false, 2, 4});
  }
}

TEST(HostExecutor, RefusesAnotherOperation) {
  World world({"ring", "none", 2, {1000}});
  auto data = random_data(2, {1000}, 1, false);
  FakeNetwork network(2, 8, 1);
  std::vector<std::vector<Buffer>> buffers(2);
  for (std::size_t rank = 0; rank < 2; ++rank) {
    auto& tensor = data[rank].tensors[0];
    buffers[rank].push_back({Tensor(std::span(tensor)), tensor.data(), nullptr, nullptr});
    const auto number = static_cast<std::uint32_t>(rank);
    world.executor(static_cast<int>(rank)).start(buffers[rank], {.operation = number, .sender = number}, 0);
  }
  try {
    for (int turn = 0; turn < 1000; ++turn) {
      world.executor(0).pump_sends(1, network.channels(0)[1]);
      world.executor(1).pump_receives(0, network.channels(1)[0]);
    }
    FAIL() << "took a frame of another operation";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::order_mismatch);
    EXPECT_EQ(error.peer(), 0);
  }
}

/// Whatever single step of a rank's list is missing: the run fails, gets stuck, or gives other bits.
TEST(HostExecutor, APlantedFaultInTheScheduleShows) {
  for (const std::string& algorithm : algorithm_names()) {
    const Job job{algorithm, "onebit", 3, {3000}};
    const std::size_t steps = World(job).schedule().steps[1].size();
    for (std::size_t missing = 0; missing < steps; ++missing) {
      bool caught = false;
      try {
        World world(job, [&](Schedule& schedule) {
          auto& list = schedule.steps[1];
          list.erase(list.begin() + static_cast<std::ptrdiff_t>(missing));
        });
        auto data = random_data(3, job.counts, 1, true);
        auto expected = data;
        World(job).oracle(expected);
        caught = !world.run(data);
        for (std::size_t rank = 0; rank < data.size(); ++rank) {
          caught = caught || !same_bits(data[rank].tensors[0], expected[rank].tensors[0]);
        }
      } catch (const std::exception&) {
        caught = true;
      }
      EXPECT_TRUE(caught) << algorithm << " without step " << missing;
    }
  }
}

}  // namespace
}  // namespace gradwire::collectives
