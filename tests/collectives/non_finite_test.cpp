#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/convert.hpp"
#include "executor_world.hpp"
#include "oracle_data.hpp"
#include "tests/support/every_algorithm.hpp"

// Who learns of a value that is not finite, and what becomes of its residual.
namespace gradwire::collectives {
namespace {

using testing::Job;
using testing::random_data;
using testing::randomize_residuals;
using testing::World;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The first element that a rank owns.
std::size_t first_owned(const World& world, int rank) {
  for (const Segment& segment : world.layout().segments) {
    if (world.schedule().owner[segment.chunk] == rank)
      return world.layout().pieces[segment.piece_begin].begin;
  }
  ADD_FAILURE() << "rank " << rank << " owns nothing";
  return 0;
}

TEST(NonFinite, IsKnownToEveryRankAfterAnAllreduce) {
  for (const std::string& algorithm : algorithm_names()) {
    for (int ranks = 2; ranks <= 6; ++ranks) {
      World world({.algorithm = algorithm, .codec = "onebit", .ranks = ranks, .counts = {5000}});
      auto data = random_data(ranks, {5000}, 1, true);
      data.back().tensors[0][4321] = kNan;
      ASSERT_TRUE(world.run(data));
      for (int rank = 0; rank < ranks; ++rank) {
        EXPECT_TRUE(world.executor(rank).non_finite()) << algorithm << " of " << ranks << ", rank " << rank;
      }
    }
  }
}

/// What a rank adds to its own part of a reduce-scatter is never encoded.
TEST(NonFinite, InTheOwnersOwnPartIsSeenByTheOwner) {
  for (const char* codec : {"fp16", "bf16", "onebit", "onebit:block=64,scale=l2"}) {
    for (const Algorithm algorithm : reduce_scatter_algorithms()) {
      for (int ranks = 1; ranks <= 5; ++ranks) {
        for (int culprit = 0; culprit < ranks; ++culprit) {
          for (const float poison : {kNan, kInfinity, -kInfinity}) {
            const Job job{.algorithm = std::string(to_string(algorithm)),
                          .codec = codec,
                          .ranks = ranks,
                          .counts = {3000},
                          .average = ranks % 2 == 0,
                          .collective = Collective::reduce_scatter};
            SCOPED_TRACE(job.describe());
            World world(job);
            auto data = random_data(ranks, job.counts, 1, true);
            randomize_residuals(data, 2);
            const auto own = static_cast<std::size_t>(culprit);
            const std::size_t at = first_owned(world, culprit) + 17;
            data[own].tensors[0][at] = poison;
            const float before = data[own].residuals[0][at];
            auto expected = data;
            world.oracle(expected);
            ASSERT_TRUE(world.run(data));
            for (int rank = 0; rank < ranks; ++rank) {
              EXPECT_EQ(world.executor(rank).non_finite(), rank == culprit) << rank;
              EXPECT_EQ(expected[static_cast<std::size_t>(rank)].finite, rank != culprit) << rank;
            }
            EXPECT_FALSE(std::isfinite(data[own].tensors[0][at]));
            EXPECT_TRUE(std::isfinite(data[own].tensors[0][at + 1]));
            EXPECT_EQ(data[own].residuals[0][at], before) << "rolled back";
            EXPECT_EQ(data[own].residuals[0][at + 1], 0.0F) << "flushed";
            EXPECT_EQ(data[own].residuals, expected[own].residuals);
          }
        }
      }
    }
  }
}

TEST(NonFinite, IsSeenByARankThatIsAlone) {
  for (const float poison : {kNan, kInfinity, -kInfinity}) {
    const Job job{.codec = "onebit", .counts = {1000}};
    World world(job);
    auto data = random_data(1, job.counts, 1, true);
    randomize_residuals(data, 2);
    auto& tensor = data[0].tensors[0];
    const auto& residual = data[0].residuals[0];
    tensor[700] = poison;
    std::vector<float> shadow(1000, -7.0F);
    ASSERT_TRUE(world.run({{{Tensor(tensor), tensor.data(), residual.data(), shadow.data()}}}));
    EXPECT_TRUE(world.executor(0).non_finite());
    for (std::size_t i = 0; i < shadow.size(); ++i) EXPECT_EQ(shadow[i], i == 700 ? residual[i] : 0.0F) << i;
  }
}

TEST(NonFinite, GoesUnseenWithoutACodec) {
  for (int ranks = 1; ranks <= 3; ++ranks) {
    for (const Collective collective : {Collective::allreduce, Collective::reduce_scatter}) {
      World world({.algorithm = "ring", .ranks = ranks, .counts = {900}, .collective = collective});
      auto data = random_data(ranks, {900}, 1, true);
      randomize_residuals(data, 2);
      const std::size_t at = first_owned(world, 0);
      data[0].tensors[0][at] = kNan;
      ASSERT_TRUE(world.run(data));
      EXPECT_FALSE(world.executor(0).non_finite());
      EXPECT_TRUE(std::isnan(data[0].tensors[0][at]));
      EXPECT_EQ(data[0].residuals[0][at], 0.0F) << "sent, NaN or not";
    }
  }
}

/// A rank's fp16 tensor with float32 scratch, as the runtime lends it.
struct HalfTensor {
  HalfTensor(std::size_t count, float value) : halves(count), work(count) {
    const std::vector<float> values(count, value);
    compress::from_float32(DType::float16, values.data(), halves.data(), count);
  }
  Buffer lend() { return {Tensor(halves.data(), halves.size(), DType::float16), work.data()}; }
  [[nodiscard]] float value(std::size_t i) const {
    float wide = 0;
    compress::to_float32(DType::float16, &halves[i], &wide, 1);
    return wide;
  }

  std::vector<std::uint16_t> halves;
  std::vector<float> work;
};

/// Runs one operation on fp16 tensors that hold one value per rank, and returns them.
std::vector<HalfTensor> run_halves(World& world, const std::vector<float>& values, std::size_t count) {
  std::vector<HalfTensor> tensors;
  tensors.reserve(values.size());
  for (const float value : values) tensors.emplace_back(count, value);
  std::vector<std::vector<Buffer>> buffers;
  buffers.reserve(tensors.size());
  for (HalfTensor& tensor : tensors) buffers.push_back({tensor.lend()});
  EXPECT_TRUE(world.run(buffers));
  return tensors;
}

TEST(NonFinite, IsWhatDoesNotFitIntoA16BitTensor) {
  for (const std::string& algorithm : algorithm_names()) {
    for (const char* codec : {"bf16", "onebit", "none"}) {
      World world({.algorithm = algorithm, .codec = codec, .ranks = 2, .counts = {1000}});
      EXPECT_EQ(run_halves(world, {28'672.0F, 28'672.0F}, 1000)[1].value(7), 57'344.0F);
      EXPECT_FALSE(world.executor(0).non_finite()) << algorithm << codec;
      EXPECT_EQ(run_halves(world, {40'960.0F, 40'960.0F}, 1000)[1].value(7), kInfinity);
      for (int rank = 0; rank < 2; ++rank) {
        EXPECT_EQ(world.executor(rank).non_finite(), std::string(codec) != "none") << algorithm << codec;
      }
    }
  }
}

TEST(NonFinite, IsNoPartialSumThatDoesNotFit) {
  World world({.algorithm = "ring",
               .codec = "bf16",
               .ranks = 4,
               .counts = {64},
               .collective = Collective::reduce_scatter});
  const auto tensors = run_halves(world, {60'000.0F, 60'000.0F, -60'000.0F, -60'000.0F}, 64);
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_FALSE(world.executor(rank).non_finite()) << rank;
    EXPECT_NEAR(tensors[static_cast<std::size_t>(rank)].value(first_owned(world, rank)), 0.0F, 1000.0F);
  }
}

}  // namespace
}  // namespace gradwire::collectives
