#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "every_schedule.hpp"
#include "executor_world.hpp"
#include "oracle_data.hpp"
#include "tests/support/every_algorithm.hpp"

// What host_executor_test.cpp shows for tensors on the host, where some or all ranks have theirs on a device.
namespace gradwire::collectives {
namespace {

using testing::Case;
using testing::codec_specs;
using testing::every_case;
using testing::Job;
using testing::random_data;
using testing::randomize_residuals;
using testing::same_bits;
using testing::World;

constexpr unsigned kAllRanks = ~0U;

class DeviceExecutor : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = compress::why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
  }
};
class EveryCollectiveOnDevices : public DeviceExecutor, public ::testing::WithParamInterface<Case> {};

/// A barrier's one element is never anywhere but on the host.
std::vector<Case> all_but_the_barrier() {
  std::vector<Case> cases = every_case();
  std::erase_if(cases, [](const Case& each) { return each.collective == Collective::barrier; });
  return cases;
}

/// After a reduce-scatter, what a rank does not own.
void forget_what_is_unspecified(const World& world, std::size_t rank, std::size_t tensor,
                                std::vector<float>& values) {
  if (world.schedule().collective != Collective::reduce_scatter) return;
  for (const Segment& segment : world.layout().segments) {
    if (world.schedule().owner[segment.chunk] == static_cast<int>(rank)) continue;
    for (auto p = segment.piece_begin; p < segment.piece_end; ++p) {
      const Piece& piece = world.layout().pieces[p];
      if (piece.tensor != tensor) continue;
      std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(piece.begin), piece.count, 0.0F);
    }
  }
}

/// Results, residuals, non-finite values noticed, and bytes on the wire: two operations, one after the other.
void expect_as_on_the_host(const Job& job, const std::vector<RankData>& input) {
  SCOPED_TRACE(job.describe());
  Job on_host = job;
  on_host.devices = 0;
  World world(job);
  World reference(on_host);
  auto data = input;
  auto expected = input;
  for (int operation = 0; operation < 2; ++operation) {
    ASSERT_TRUE(reference.run(expected));
    ASSERT_TRUE(world.run(data)) << "stuck";
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      for (std::size_t i = 0; i < job.counts.size(); ++i) {
        forget_what_is_unspecified(world, rank, i, data[rank].tensors[i]);
        forget_what_is_unspecified(world, rank, i, expected[rank].tensors[i]);
        ASSERT_TRUE(same_bits(data[rank].tensors[i], expected[rank].tensors[i]))
            << "rank " << rank << " tensor " << i;
        ASSERT_TRUE(same_bits(data[rank].residuals[i], expected[rank].residuals[i]))
            << "residual of rank " << rank;
      }
      const auto number = static_cast<int>(rank);
      ASSERT_EQ(world.executor(number).non_finite(), reference.executor(number).non_finite()) << rank;
    }
  }
  EXPECT_EQ(world.digests(), reference.digests());
}

void expect_as_on_the_host(const Job& job) {
  auto data = random_data(job.ranks, job.counts, 7, true);
  randomize_residuals(data, 8);
  expect_as_on_the_host(job, data);
}

TEST_P(EveryCollectiveOnDevices, HasTheBitsOfTheHost) {
  const Case& tested = GetParam();
  const bool gathers =
      tested.collective == Collective::allgather || tested.collective == Collective::broadcast;
  unsigned turn = 0;
  for (const std::string& codec : codec_specs()) {
    for (int ranks = 1; ranks <= 5; ranks += quick() ? 2 : 1) {
      for (const auto& counts : {std::vector<std::size_t>{0}, {1}, {700, 0, 1301, 64}}) {
        for (const auto& dtypes :
             {std::vector<DType>{DType::float32}, {DType::float16, DType::float32, DType::bfloat16}}) {
          ++turn;
          // All of them, one of them, all but one.
          const unsigned one = 1U << turn / 3 % static_cast<unsigned>(ranks);
          expect_as_on_the_host({.algorithm = std::string(to_string(tested.algorithm)),
                                 .codec = codec,
                                 .ranks = ranks,
                                 .counts = counts,
                                 .average = !gathers && turn / 2 % 2 == 0,
                                 .seed = turn,
                                 .collective = tested.collective,
                                 .root = tested.collective == Collective::broadcast ? ranks / 2 : 0,
                                 .devices = std::array{kAllRanks, one, ~one}[turn % 3],
                                 .dtypes = dtypes});
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, EveryCollectiveOnDevices, ::testing::ValuesIn(all_but_the_barrier()),
                         [](const auto& tested) { return identifier(tested.param.name()); });

TEST_F(DeviceExecutor, KeepsManySegmentsApart) {
  for (const std::string& algorithm : algorithm_names()) {
    expect_as_on_the_host(
        {.algorithm = algorithm, .codec = "none", .ranks = 4, .counts = {60'000}, .devices = kAllRanks});
    expect_as_on_the_host({.algorithm = algorithm,
                           .codec = "onebit",
                           .ranks = 5,
                           .counts = {150'000},
                           .average = true,
                           .capacity = 2,
                           .devices = 0b01101});
  }
}

TEST_F(DeviceExecutor, SeesWhatIsNotFinite) {
  unsigned turn = 0;
  for (const Case& tested : all_but_the_barrier()) {
    for (const char* codec : {"none", "fp16", "bf16", "onebit"}) {
      for (const float poison :
           {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        const Job job{.algorithm = std::string(to_string(tested.algorithm)),
                      .codec = codec,
                      .ranks = 4,
                      .counts = {3000},
                      .seed = ++turn,
                      .collective = tested.collective,
                      .devices = turn % 2 == 0 ? kAllRanks : 0b0110};
        auto data = random_data(job.ranks, job.counts, turn, true);
        randomize_residuals(data, turn);
        data[turn % 4].tensors[0][turn * 91 % 3000] = poison;
        expect_as_on_the_host(job, data);
        if (HasFatalFailure()) return;
      }
    }
  }
}

/// Where a result does not fit, all ranks have the same bits, and know.
TEST_F(DeviceExecutor, SeesWhatDoesNotFitInto16Bits) {
  unsigned turn = 0;
  for (const Case& tested : all_but_the_barrier()) {
    for (const char* codec : {"none", "bf16", "onebit"}) {
      const Job job{.algorithm = std::string(to_string(tested.algorithm)),
                    .codec = codec,
                    .ranks = 3,
                    .counts = {2000},
                    .seed = ++turn,
                    .collective = tested.collective,
                    .devices = std::array{kAllRanks, 0b010U, 0b101U}[turn % 3],
                    .dtypes = {DType::float16}};
      SCOPED_TRACE(job.describe());
      Job on_host = job;
      on_host.devices = 0;
      World world(job);
      World reference(on_host);
      std::vector<RankData> data(3);
      for (RankData& rank : data) {
        rank.tensors.emplace_back(2000, 40'960.0F);
        rank.residuals.emplace_back(2000, 50'000.0F);
      }
      auto expected = data;
      ASSERT_TRUE(reference.run(expected));
      ASSERT_TRUE(world.run(data));
      for (std::size_t rank = 0; rank < data.size(); ++rank) {
        forget_what_is_unspecified(world, rank, 0, data[rank].tensors[0]);
        forget_what_is_unspecified(world, rank, 0, expected[rank].tensors[0]);
        ASSERT_TRUE(same_bits(data[rank].tensors[0], expected[rank].tensors[0])) << rank;
        ASSERT_TRUE(same_bits(data[rank].residuals[0], expected[rank].residuals[0])) << rank;
        const auto number = static_cast<int>(rank);
        EXPECT_EQ(world.executor(number).non_finite(), std::string(codec) != "none") << rank;
        EXPECT_EQ(reference.executor(number).non_finite(), std::string(codec) != "none") << rank;
      }
    }
  }
}

}  // namespace
}  // namespace gradwire::collectives
