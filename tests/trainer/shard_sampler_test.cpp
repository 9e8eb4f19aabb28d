#include "trainer/shard_sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>
#include <vector>

namespace gradwire::trainer {
namespace {

class Sharding : public testing::TestWithParam<std::tuple<std::size_t, int, std::size_t>> {};

TEST_P(Sharding, an_epoch_visits_each_sample_once) {
  const auto [samples, ranks, batch] = GetParam();
  std::vector<ShardSampler> samplers;
  samplers.reserve(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) samplers.emplace_back(samples, rank, ranks, batch, 7);
  const std::uint64_t steps = samplers[0].steps_per_epoch();
  for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
    std::vector<int> visits(samples);
    for (std::uint64_t step = epoch * steps; step < (epoch + 1) * steps; ++step) {
      std::size_t taken = 0;
      for (auto& sampler : samplers) {
        const auto mine = sampler.local(step);
        EXPECT_LE(mine.size(), batch);
        taken += mine.size();
        for (const auto sample : mine) ++visits[sample];
      }
      EXPECT_EQ(taken, samplers[0].global_count(step));
    }
    EXPECT_EQ(std::ranges::count(visits, 1), static_cast<std::ptrdiff_t>(samples));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Sharding,
                         testing::Values(std::tuple{100, 1, 10}, std::tuple{100, 4, 7},
                                         std::tuple{101, 3, 16}, std::tuple{3, 4, 2}, std::tuple{1, 1, 1},
                                         std::tuple{1000, 7, 13}));

std::vector<std::uint32_t> copy(std::span<const std::uint32_t> samples) {
  return {samples.begin(), samples.end()};
}

TEST(ShardSampler, is_a_function_of_seed_epoch_and_step) {
  ShardSampler a(1000, 1, 4, 8, 7);
  ShardSampler b(1000, 1, 4, 8, 7);
  const auto later = copy(a.local(40));
  for (std::uint64_t step = 0; step < 40; ++step) b.local(step);
  EXPECT_EQ(later, copy(b.local(40))) << "whatever was asked before";

  ShardSampler other_seed(1000, 1, 4, 8, 8);
  EXPECT_NE(later, copy(other_seed.local(40)));
  EXPECT_NE(copy(a.local(0)), copy(a.local(a.steps_per_epoch()))) << "each epoch is shuffled anew";
}

TEST(ShardSampler, ranks_together_take_what_one_rank_with_the_global_batch_takes) {
  ShardSampler one(1003, 0, 1, 32, 7);
  std::vector<ShardSampler> four;
  four.reserve(4);
  for (int rank = 0; rank < 4; ++rank) four.emplace_back(1003, rank, 4, 8, 7);
  ASSERT_EQ(one.steps_per_epoch(), four[0].steps_per_epoch());
  for (std::uint64_t step = 0; step < 2 * one.steps_per_epoch(); ++step) {
    std::vector<std::uint32_t> together;
    for (auto& sampler : four) {
      const auto part = copy(sampler.local(step));
      together.insert(together.end(), part.begin(), part.end());
    }
    EXPECT_EQ(together, copy(one.local(step)));
  }
}

}  // namespace
}  // namespace gradwire::trainer
