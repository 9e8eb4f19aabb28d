#include "gradwire/communicator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "gradwire/inspect.hpp"
#include "local_world.hpp"
#include "tests/support/every_algorithm.hpp"
#include "tests/support/normal_floats.hpp"
#include "tests/support/quick.hpp"

namespace gradwire {
namespace {

std::vector<float> noise(int rank, std::size_t count, unsigned salt = 0) {
  return normal_floats(count, static_cast<unsigned>(rank) * 7919 + salt);
}

std::vector<std::vector<float>> noise_of_all(int ranks, std::size_t count, unsigned salt = 0) {
  std::vector<std::vector<float>> all;
  all.reserve(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) all.push_back(noise(rank, count, salt));
  return all;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

/// How many threads of this process may be given `signal`.
int threads_that_take(int signal) {
  int count = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream status(thread.path() / "status");
    for (std::string word; status >> word;) {
      if (word != "SigBlk:") continue;
      std::uint64_t mask = 0;
      status >> std::hex >> mask;
      if ((mask >> static_cast<unsigned>(signal - 1) & 1U) == 0) ++count;
      break;
    }
  }
  return count;
}

TEST(Communicator, ProgressThreadsTakeNoneOfTheProgramsSignals) {
  const int before = threads_that_take(SIGTERM);
  expect_ranks(2, [&](Communicator& communicator) {
    communicator.start_progress_thread();
    communicator.barrier();
    // Whoever starts a thread takes no signals for a moment, and the one that has started the ranks may be at
    // that still.
    int taking = 0;
    for (int i = 0; i < 500 && taking != before + 2; ++i) {
      if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      taking = threads_that_take(SIGTERM);
    }
    EXPECT_EQ(taking, before + 2) << "the two ranks' own threads";
    communicator.barrier();
  });
}

TEST(Communicator, AloneGivesBackWhatItGets) {
  Communicator alone;
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.world_size(), 1);
  auto values = noise(0, 1000);
  std::vector<float> residual(1000, 0.5F);
  const auto before = values;
  alone.allreduce(std::span(values), {.codec = "onebit", .average = true}, residual);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], before[i] + 0.5F);
  EXPECT_THAT(residual, testing::Each(0.0F));
  alone.barrier();
}

class EveryAlgorithm : public testing::TestWithParam<std::string> {};

TEST_P(EveryAlgorithm, EqualsTheOracle) {
  for (int ranks = 1; ranks <= 9; ranks += quick() ? 4 : 1) {
    for (const char* codec :
         {"none", "fp16", "bf16", "onebit", "onebit:block=64,scale=l1", "onebit:block=1024,scale=l2"}) {
      for (const std::size_t count : {std::size_t{1}, std::size_t{1000}, std::size_t{70'001}}) {
        const auto inputs = noise_of_all(ranks, count);
        std::vector<std::vector<float>> residuals = noise_of_all(ranks, count, 5);
        auto expected_residuals = residuals;
        const std::vector<int> one_host(static_cast<std::size_t>(ranks), 0);
        const auto expected =
            inspect::oracle_allreduce(GetParam(), codec, true, inputs, expected_residuals, one_host);
        expect_ranks(ranks, [&](Communicator& communicator) {
          const auto rank = static_cast<std::size_t>(communicator.rank());
          auto values = inputs[rank];
          communicator.allreduce(std::span(values),
                                 {.codec = codec, .algorithm = GetParam(), .average = true}, residuals[rank]);
          EXPECT_TRUE(same_bits(values, expected)) << codec << " " << ranks << " ranks, " << count;
          EXPECT_TRUE(same_bits(residuals[rank], expected_residuals[rank])) << codec << " " << ranks;
        });
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Auto, EveryAlgorithm, testing::Values("auto"));
INSTANTIATE_TEST_SUITE_P(Algorithms, EveryAlgorithm, testing::ValuesIn(algorithm_names()),
                         [](const auto& instance) { return identifier(instance.param); });

TEST(Communicator, SumsSixteenBitTensorsInFloat32) {
  expect_ranks(3, [](Communicator& communicator) {
    std::vector<std::uint16_t> ones(5000, 0x3F80);  // bfloat16 1.0
    communicator.allreduce(Tensor(ones.data(), ones.size(), DType::bfloat16));
    EXPECT_THAT(ones, testing::Each(0x4040));        // 3.0
    std::vector<std::uint16_t> halves(777, 0x3800);  // float16 0.5
    communicator.allreduce(Tensor(halves.data(), halves.size(), DType::float16),
                           {.codec = "fp16", .average = true});
    EXPECT_THAT(halves, testing::Each(0x3800));
  });
}

TEST(Communicator, ReduceScatterThenAllgatherIsAllreduce) {
  for (const auto algorithm : reduce_scatter_algorithms()) {
    expect_ranks(4, [&](Communicator& communicator) {
      const auto all = noise_of_all(4, 10'000);
      auto values = all[static_cast<std::size_t>(communicator.rank())];
      const OperationOptions options{.algorithm = std::string(to_string(algorithm))};
      const auto [begin, end] = communicator.reduce_scatter(std::span(values), options);
      EXPECT_LT(begin, end);
      communicator.allgather(std::span(values), options);
      for (std::size_t i = 0; i < values.size(); ++i) {
        EXPECT_NEAR(values[i], all[0][i] + all[1][i] + all[2][i] + all[3][i], 1e-5F) << i;
      }
    });
  }
}

TEST(Communicator, BroadcastsFromAnyRoot) {
  for (int root = 0; root < 5; ++root) {
    expect_ranks(5, [&](Communicator& communicator) {
      auto values = noise(communicator.rank(), 3001);
      communicator.broadcast(std::span(values), {.root = root});
      EXPECT_TRUE(same_bits(values, noise(root, 3001)));
    });
  }
}

TEST(Communicator, BarrierWaitsForEveryRank) {
  std::atomic<int> arrived{0};
  expect_ranks(5, [&](Communicator& communicator) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5 * communicator.rank()));
    ++arrived;
    communicator.barrier();
    EXPECT_EQ(arrived.load(), 5);
  });
}

TEST(Communicator, KeepsSeveralOperationsInFlight) {
  expect_ranks(4, [](Communicator& communicator) {
    constexpr std::size_t kOperations = 12;
    std::vector<std::vector<float>> values;
    std::vector<Work> works;
    for (std::size_t i = 0; i < kOperations; ++i)
      values.emplace_back(1 + 3000 * i, static_cast<float>(i + 1));
    for (std::size_t i = 0; i < kOperations; ++i) {
      works.push_back(
          communicator.allreduce_async(std::span(values[i]), {.tag = static_cast<std::uint32_t>(i)}));
    }
    // Waiting in another order than that of submission.
    for (std::size_t i = kOperations; i-- > 0;) {
      works[i].wait();
      EXPECT_TRUE(works[i].done());
      EXPECT_THAT(values[i], testing::Each(4.0F * static_cast<float>(i + 1)));
    }
  });
}

TEST(Communicator, ProgressThreadFinishesWorkThatNobodyWaitsFor) {
  expect_ranks(3, [](Communicator& communicator) {
    communicator.start_progress_thread();
    std::vector<float> values(50'000, 1.0F);
    const Work work = communicator.allreduce_async(std::span(values));
    for (int i = 0; i < 2000 && !work.done(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_TRUE(work.done());
    EXPECT_EQ(values.front(), 3.0F);
    communicator.barrier();
  });
}

TEST(Communicator, WaitForGivesUpWithoutEndingTheOperation) {
  expect_ranks(2, [](Communicator& communicator) {
    std::vector<float> values(10, 1.0F);
    if (communicator.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    Work work = communicator.allreduce_async(std::span(values));
    if (communicator.rank() == 0) {
      EXPECT_FALSE(work.wait_for(std::chrono::milliseconds(10)));
    }
    work.wait();
    EXPECT_EQ(values[3], 2.0F);
  });
}

TEST(Communicator, PollingMakesProgress) {
  expect_ranks(3, [](Communicator& communicator) {
    std::vector<float> values(100'000, 1.0F);
    Work work = communicator.allreduce_async(std::span(values), {.algorithm = "ring"});
    while (!work.wait_for(std::chrono::nanoseconds(0))) std::this_thread::yield();
    EXPECT_EQ(values[77], 3.0F);
  });
}

TEST(Communicator, TakesTheLongestTimes) {
  expect_ranks(
      2,
      [](Communicator& communicator) {
        std::vector<float> values(1000, 1.0F);
        Work work = communicator.allreduce_async(std::span(values));
        EXPECT_TRUE(work.wait_for(std::chrono::nanoseconds::max()));
        EXPECT_EQ(values[0], 2.0F);
      },
      [](CommunicatorOptions& options) { options.timeout = std::chrono::milliseconds::max(); });
}

TEST(Communicator, OldShapesMakeRoomForNewOnes) {
  expect_ranks(2, [](Communicator& communicator) {
    for (std::size_t round = 0; round < 2; ++round) {
      for (std::size_t count = 1; count <= 100; ++count) {
        std::vector<float> values(count, 1.0F);
        communicator.allreduce(std::span(values), {.tag = static_cast<std::uint32_t>(round * 1000 + count)});
        EXPECT_THAT(values, testing::Each(2.0F));
      }
    }
  });
}

TEST(Communicator, SeveralCommunicatorsLiveInOneProcess) {
  const auto store = make_memory_store();
  expect_ranks(3, [&](Communicator& first) {
    auto options = thread_options(first.rank(), 3, store);
    options.id = 7;
    Communicator second(options);
    std::vector<float> a(100, 1.0F);
    std::vector<float> b(100, 2.0F);
    Work one = first.allreduce_async(std::span(a));
    Work two = second.allreduce_async(std::span(b));
    two.wait();
    one.wait();
    EXPECT_EQ(a[0], 3.0F);
    EXPECT_EQ(b[0], 6.0F);
  });
}

TEST(Communicator, OverridesLossyCodecsOnly) {
  expect_ranks(
      2,
      [](Communicator& communicator) {
        EXPECT_EQ(communicator.codec_in_use("onebit"), "none");
        EXPECT_EQ(communicator.codec_in_use("none"), "none");
        auto values = noise(communicator.rank(), 1000);
        communicator.allreduce(std::span(values), {.codec = "onebit"});
        const auto all = noise_of_all(2, 1000);
        for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], all[0][i] + all[1][i]);
      },
      [](CommunicatorOptions& options) { options.codec = "none"; });
}

}  // namespace
}  // namespace gradwire
