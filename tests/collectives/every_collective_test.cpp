#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "every_schedule.hpp"
#include "executor_world.hpp"
#include "oracle_data.hpp"

// What host_executor_test.cpp shows for allreduce, for the other collectives: the oracle's bits whatever the
// order of arrival.
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

/// Whether a rank's result and residual in this piece are part of what the collective promises.
bool promised(const Schedule& schedule, std::uint32_t chunk, std::size_t rank) {
  return schedule.collective != Collective::reduce_scatter || schedule.owner[chunk] == static_cast<int>(rank);
}

class EveryCollective : public ::testing::TestWithParam<Case> {};

TEST_P(EveryCollective, EqualsTheOracleBitForBitUnderRandomDelays) {
  const Case& tested = GetParam();
  const bool gathers =
      tested.collective == Collective::allgather || tested.collective == Collective::broadcast;
  unsigned seed = 1;
  for (const std::string& spec : codec_specs()) {
    for (int ranks = 1; ranks <= 9; ranks += quick() ? 4 : 1) {
      for (const auto& counts : {std::vector<std::size_t>{5}, {3000}, {700, 0, 33, 12'000}}) {
        const Job job{.algorithm = std::string(to_string(tested.algorithm)),
                      .codec = spec,
                      .ranks = ranks,
                      .counts = counts,
                      .average = !gathers && ranks % 2 == 0,
                      .seed = ++seed,
                      .collective = tested.collective,
                      .root = tested.collective == Collective::broadcast ? ranks / 2 : 0};
        SCOPED_TRACE(job.describe());
        World world(job);
        auto data = random_data(ranks, counts, seed, true);
        randomize_residuals(data, seed);
        auto expected = data;
        world.oracle(expected);
        ASSERT_TRUE(world.run(data)) << "stuck";
        for (const Segment& segment : world.layout().segments) {
          for (std::size_t rank = 0; rank < data.size(); ++rank) {
            if (!promised(world.schedule(), segment.chunk, rank)) continue;
            for (auto p = segment.piece_begin; p < segment.piece_end; ++p) {
              const Piece& piece = world.layout().pieces[p];
              const auto part = [&](const std::vector<std::vector<float>>& of) {
                const auto begin = of[piece.tensor].begin() + static_cast<std::ptrdiff_t>(piece.begin);
                return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(piece.count));
              };
              ASSERT_TRUE(same_bits(part(data[rank].tensors), part(expected[rank].tensors)))
                  << "rank " << rank;
            }
          }
        }
        for (std::size_t rank = 0; rank < data.size(); ++rank) {
          for (std::size_t t = 0; t < counts.size(); ++t) {
            ASSERT_TRUE(same_bits(data[rank].residuals[t], expected[rank].residuals[t]))
                << "residual of rank " << rank;
          }
        }
      }
    }
  }
}

std::vector<Case> all_but_allreduce() {
  std::vector<Case> cases = every_case();
  std::erase_if(cases, [](const Case& each) { return each.collective == Collective::allreduce; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, EveryCollective, ::testing::ValuesIn(all_but_allreduce()),
                         [](const auto& tested) {
                           std::string name = tested.param.name();
                           for (char& letter : name) {
                             if (letter == ' ' || letter == '-') letter = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace gradwire::collectives
