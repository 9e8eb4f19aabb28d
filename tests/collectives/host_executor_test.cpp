#include "collectives/host_executor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "collectives/oracle.hpp"
#include "collectives/resolve.hpp"
#include "fake_network.hpp"
#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

const char* const kCodecs[] = {"none",           "fp16", "bf16", "onebit", "onebit:block=64,scale=l1",
                               "onebit:scale=l2"};

struct Case {
  std::string algorithm;
  std::string codec;
  int ranks = 1;
  std::vector<std::size_t> counts;
  bool average = false;
  std::size_t capacity = 1;
  unsigned seed = 1;
};

std::vector<RankData> random_data(const Case& test) {
  std::mt19937 random(test.seed);
  std::normal_distribution<float> normal;
  std::vector<RankData> data(static_cast<std::size_t>(test.ranks));
  for (RankData& rank : data) {
    for (const std::size_t count : test.counts) {
      auto& tensor = rank.tensors.emplace_back(count);
      auto& residual = rank.residuals.emplace_back(count);
      for (float& value : tensor) value = normal(random);
      for (float& value : residual) value = 0.1F * normal(random);
    }
  }
  return data;
}

/// All ranks of one operation in one thread, over a network with random delays.
class World {
 public:
  explicit World(const Case& test, const std::function<void(Schedule&)>& mutate = {})
      : ranks_(test.ranks), network_(test.ranks, test.capacity, test.seed), random_(test.seed + 1) {
    codec_ = compress::make_codec(test.codec);
    const auto resolved = resolve(Collective::allreduce, test.algorithm, *codec_, test.counts, test.ranks);
    schedule_ = resolved.schedule;
    if (mutate) mutate(schedule_);
    layout_ = resolved.layout;
    for (int rank = 0; rank < test.ranks; ++rank) {
      executors_.push_back(std::make_unique<HostExecutor>(
          test.average, compile(schedule_, layout_, *codec_, rank), layout_, codec_));
    }
  }

  /// Returns false when nothing can move any more although somebody is not finished.
  bool run(std::vector<RankData>& data) {
    std::vector<std::vector<Buffer>> buffers(data.size());
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      for (std::size_t i = 0; i < data[rank].tensors.size(); ++i) {
        auto& tensor = data[rank].tensors[i];
        auto& residual = data[rank].residuals[i];
        buffers[rank].push_back({Tensor(std::span(tensor)), tensor.data(), residual.data(), residual.data()});
      }
      const wire::Header prototype{.operation = operation_, .sender = static_cast<std::uint32_t>(rank)};
      executors_[rank]->start(buffers[rank], prototype, 0);
    }
    ++operation_;
    int idle = 0;
    while (!std::all_of(executors_.begin(), executors_.end(), [](const auto& e) { return e->finished(); })) {
      if (++idle > 10'000) return false;
      const int rank = static_cast<int>(random_() % static_cast<unsigned>(ranks_));
      auto& channels = network_.channels(rank);
      for (int peer = 0; peer < ranks_; ++peer) {
        if (peer == rank) continue;
        auto& channel = channels[static_cast<std::size_t>(peer)];
        if (executors_[static_cast<std::size_t>(rank)]->pump_receives(peer, channel)) idle = 0;
        if (executors_[static_cast<std::size_t>(rank)]->pump_sends(peer, channel)) idle = 0;
      }
    }
    return true;
  }

  void oracle(const Case& test, std::vector<RankData>& data) const {
    run_oracle(schedule_, layout_, *compress::make_reference_codec(test.codec), {.average = test.average},
               data);
  }

  HostExecutor& executor(int rank) { return *executors_[static_cast<std::size_t>(rank)]; }
  const Schedule& schedule() const { return schedule_; }

 private:
  int ranks_;
  FakeNetwork network_;
  std::minstd_rand random_;
  std::shared_ptr<const compress::Codec> codec_;
  Schedule schedule_;
  Layout layout_;
  std::vector<std::unique_ptr<HostExecutor>> executors_;
  std::uint32_t operation_ = 0;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

void expect_oracle(const Case& test) {
  SCOPED_TRACE(test.algorithm + " " + test.codec + " ranks " + std::to_string(test.ranks) + " capacity " +
               std::to_string(test.capacity) + " seed " + std::to_string(test.seed));
  World world(test);
  auto data = random_data(test);
  auto expected = data;
  for (int operation = 0; operation < 2; ++operation) {
    ASSERT_TRUE(world.run(data)) << "stuck";
    world.oracle(test, expected);
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      for (std::size_t i = 0; i < test.counts.size(); ++i) {
        ASSERT_TRUE(same_bits(data[rank].tensors[i], expected[rank].tensors[i]))
            << "rank " << rank << " tensor " << i;
        ASSERT_TRUE(same_bits(data[rank].residuals[i], expected[rank].residuals[i]))
            << "residual of rank " << rank;
      }
    }
  }
}

class EveryAlgorithm : public testing::TestWithParam<const char*> {};

TEST_P(EveryAlgorithm, EqualsTheOracleBitForBitUnderRandomDelays) {
  const std::vector<std::vector<std::size_t>> sizes{{0}, {1}, {5}, {3000}, {700, 0, 1301, 64}};
  for (int ranks = 1; ranks <= 9; ++ranks) {
    for (const char* codec : kCodecs) {
      for (const auto& counts : sizes) {
        expect_oracle({GetParam(), codec, ranks, counts, ranks % 2 == 0, 1, 7});
      }
    }
  }
}

TEST_P(EveryAlgorithm, GivesTheSameBitsInEveryOrderOfArrival) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    Case test{GetParam(), "onebit", 6, {20'000, 300}, true, 1 + seed % 3, seed};
    World world(test);
    Case same = test;
    same.seed = 99;
    auto data = random_data(same);
    auto expected = data;
    ASSERT_TRUE(world.run(data));
    world.oracle(test, expected);
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      ASSERT_TRUE(same_bits(data[rank].tensors[0], expected[rank].tensors[0])) << "seed " << seed;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Algorithms, EveryAlgorithm,
                         testing::Values("ring", "two-shot", "tree", "halving-doubling", "one-shot"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(HostExecutor, KeepsManySegmentsApart) {
  for (const char* algorithm : {"ring", "tree", "two-shot", "halving-doubling"}) {
    expect_oracle({algorithm, "none", 4, {200'000}, true, 1, 3});
    expect_oracle({algorithm, "onebit", 5, {400'000}, false, 2, 4});
  }
}

TEST(HostExecutor, RefusesAnotherOperation) {
  const Case test{"ring", "none", 2, {1000}};
  World world(test);
  auto data = random_data(test);
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

/// A NaN on one rank is known on all of them when the operation ends.
TEST(HostExecutor, CarriesNonFiniteToEveryRank) {
  for (const char* algorithm : {"ring", "two-shot", "tree", "halving-doubling", "one-shot"}) {
    for (int ranks = 2; ranks <= 6; ++ranks) {
      const Case test{algorithm, "onebit", ranks, {5000}};
      World world(test);
      auto data = random_data(test);
      data.back().tensors[0][4321] = std::numeric_limits<float>::quiet_NaN();
      ASSERT_TRUE(world.run(data));
      for (int rank = 0; rank < ranks; ++rank)
        EXPECT_TRUE(world.executor(rank).non_finite()) << algorithm << rank;
    }
  }
}

/// Whatever single step of a rank's list is missing: the run fails, gets stuck, or gives other bits.
TEST(HostExecutor, APlantedFaultInTheScheduleShows) {
  for (const char* algorithm : {"ring", "two-shot", "tree", "halving-doubling", "one-shot"}) {
    const Case test{algorithm, "onebit", 3, {3000}};
    const std::size_t steps = World(test).schedule().steps[1].size();
    for (std::size_t missing = 0; missing < steps; ++missing) {
      bool caught = false;
      try {
        World world(test, [&](Schedule& schedule) {
          auto& list = schedule.steps[1];
          list.erase(list.begin() + static_cast<std::ptrdiff_t>(missing));
        });
        auto data = random_data(test);
        auto expected = data;
        World(test).oracle(test, expected);
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
