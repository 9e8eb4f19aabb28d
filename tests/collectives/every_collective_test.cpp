#include <algorithm>
#include <memory>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "every_schedule.hpp"
#include "fake_network.hpp"
#include "oracle_data.hpp"

// What host_executor_test.cpp shows for allreduce, for the other collectives: the oracle's bits whatever the
// order of arrival.
namespace gradwire::collectives {
namespace {

using testing::Case;
using testing::every_case;
using testing::random_data;
using testing::same_bits;

/// Runs one operation on all ranks in this thread, a rank at random at a time. False when it gets stuck.
bool run_executors(const Resolved& resolved, const std::shared_ptr<const compress::Codec>& codec,
                   unsigned seed, bool average, std::vector<RankData>& data) {
  const int ranks = resolved.schedule.ranks;
  FakeNetwork network(ranks, 1, seed);
  std::minstd_rand random(seed);
  std::vector<std::unique_ptr<HostExecutor>> executors;
  std::vector<std::vector<Buffer>> buffers(data.size());
  for (int rank = 0; rank < ranks; ++rank) {
    RankData& own = data[static_cast<std::size_t>(rank)];
    auto& lent = buffers[static_cast<std::size_t>(rank)];
    for (std::size_t t = 0; t < own.tensors.size(); ++t) {
      auto& tensor = own.tensors[t];
      lent.push_back(
          {Tensor(std::span(tensor)), tensor.data(), own.residuals[t].data(), own.residuals[t].data()});
    }
    executors.push_back(std::make_unique<HostExecutor>(
        average, compile(resolved.schedule, resolved.layout, *codec, rank), resolved.layout, codec));
    executors.back()->start(lent, {.sender = static_cast<std::uint32_t>(rank)}, 0);
  }
  for (int idle = 0; idle < 10'000; ++idle) {
    if (std::ranges::all_of(executors, [](const auto& executor) { return executor->finished(); }))
      return true;
    const auto rank = static_cast<int>(random() % static_cast<unsigned>(ranks));
    HostExecutor& executor = *executors[static_cast<std::size_t>(rank)];
    for (int peer = 0; peer < ranks; ++peer) {
      if (peer == rank) continue;
      Channel& channel = network.channels(rank)[static_cast<std::size_t>(peer)];
      if (executor.pump_receives(peer, channel)) idle = 0;
      if (executor.pump_sends(peer, channel)) idle = 0;
    }
  }
  return false;
}

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
  for (const char* spec : {"none", "fp16", "bf16", "onebit", "onebit:block=64,scale=l2"}) {
    const auto codec = compress::make_codec(spec);
    const auto reference = compress::make_reference_codec(spec);
    for (int ranks = 1; ranks <= 9; ++ranks) {
      for (const auto& counts : {std::vector<std::size_t>{5}, {3000}, {700, 0, 33, 40'000}}) {
        const bool average = !gathers && ranks % 2 == 0;
        const Resolved resolved = resolve(tested.collective, to_string(tested.algorithm), *codec, counts,
                                          ranks, tested.collective == Collective::broadcast ? ranks / 2 : 0);
        auto expected = random_data(ranks, counts, ++seed, true);
        auto data = expected;
        run_oracle(resolved.schedule, resolved.layout, *reference, {.average = average}, expected);
        ASSERT_TRUE(run_executors(resolved, codec, seed, average, data))
            << spec << " of " << ranks << " is stuck";
        for (const Segment& segment : resolved.layout.segments) {
          for (std::size_t rank = 0; rank < data.size(); ++rank) {
            if (!promised(resolved.schedule, segment.chunk, rank)) continue;
            for (auto p = segment.piece_begin; p < segment.piece_end; ++p) {
              const Piece& piece = resolved.layout.pieces[p];
              const auto part = [&](const std::vector<std::vector<float>>& of) {
                const auto begin = of[piece.tensor].begin() + static_cast<std::ptrdiff_t>(piece.begin);
                return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(piece.count));
              };
              ASSERT_TRUE(same_bits(part(data[rank].tensors), part(expected[rank].tensors)))
                  << spec << " of " << ranks << ", rank " << rank;
            }
          }
        }
        for (std::size_t rank = 0; rank < data.size(); ++rank) {
          for (std::size_t t = 0; t < counts.size(); ++t) {
            ASSERT_TRUE(same_bits(data[rank].residuals[t], expected[rank].residuals[t]))
                << spec << " of " << ranks << ", residual of rank " << rank;
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
