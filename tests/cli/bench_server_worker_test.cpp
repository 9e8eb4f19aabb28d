#include "cli/bench_server_worker.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench_ranks.hpp"
#include "cli/bench_timing.hpp"
#include "gradwire/parameter_server.hpp"

namespace gradwire::cli {
namespace {

constexpr int kWorkers = 2;

class BenchServerWorkerTest : public testing::TestWithParam<const char*> {};

TEST_P(BenchServerWorkerTest, MovesEveryKeyInEveryRepetition) {
  constexpr std::size_t kKeys = 5;
  constexpr std::uint64_t kKeyBytes = 40'000;
  constexpr int kRepetitions = 3;
  const std::string codec = GetParam();
  const ParameterServer server(ParameterServerOptions{});
  as_ranks(kWorkers, [&](Communicator& workers, BenchBoard&) {
    ParameterServerClientOptions options;
    options.servers = {server.address()};
    options.worker = workers.rank();
    options.workers = kWorkers;
    options.push_codec = options.pull_codec = codec;
    BenchServerWorker worker(options, workers, kKeyBytes, kKeys);
    // What the codec makes of the keys, and what headers add.
    const double least = codec == "none" ? 1 : 1.0 / 32;
    const double most = codec == "none" ? 1.1 : 1.0 / 16;
    for (const ServerOp op : {ServerOp::push, ServerOp::pull, ServerOp::push_pull}) {
      for (const std::size_t keys : {kKeys, std::size_t{1}}) {
        for (int i = 0; i < kRepetitions; ++i) {
          const Repetition one = worker.repeat(op, keys);
          worker.settle();
          EXPECT_GT(one.seconds, 0);
          // The first pull after many pushes catches up with all of them.
          if (i == 0) continue;
          const auto plain = static_cast<double>(kKeyBytes * keys) * (op == ServerOp::push_pull ? 2 : 1);
          EXPECT_GT(static_cast<double>(one.wire_bytes), least * plain);
          EXPECT_LT(static_cast<double>(one.wire_bytes), most * plain);
        }
      }
    }
  });
  const auto report = server.report();
  constexpr int kOps = 3;
  EXPECT_EQ(report.clock, kOps * 2 * kRepetitions) << "a step each";
  EXPECT_EQ(report.pushes, kWorkers * kOps * kRepetitions * (kKeys + 1));
}

INSTANTIATE_TEST_SUITE_P(Codecs, BenchServerWorkerTest, testing::Values("none", "onebit"));

TEST(BenchTiming, RanksTimesAreTheSlowestOrAll) {
  as_ranks(kWorkers, [](Communicator& communicator, BenchBoard& board) {
    const bool first = communicator.rank() == 0;
    const std::vector<double> times = first ? std::vector<double>{3, 1, 5} : std::vector<double>{2, 4, 1};
    const auto slowest = slowest_times(times, board);
    const auto all = all_times(times, board);
    EXPECT_EQ(slowest, first ? (std::vector<double>{3, 4, 5}) : std::vector<double>{});
    EXPECT_EQ(all, first ? (std::vector<double>{1, 1, 2, 3, 4, 5}) : std::vector<double>{});
  });
}

TEST(BenchTiming, QuantilesAreValuesThatWereMeasured) {
  const std::vector<double> sorted{1, 2, 3, 4};
  EXPECT_EQ(quantile(sorted, 0.5), 2);
  EXPECT_EQ(quantile(sorted, 0.51), 3);
  EXPECT_EQ(quantile(sorted, 0.99), 4);
  EXPECT_EQ(quantile({7}, 0.5), 7);
}

TEST(BenchTiming, RepetitionsFitIntoTheTime) {
  as_ranks(kWorkers, [](Communicator& communicator, BenchBoard& board) {
    // Rank 0 decides for all.
    const double factor = communicator.rank() == 0 ? 1 : 100;
    const auto takes = [factor](double seconds) { return [=] { return factor * seconds; }; };
    EXPECT_EQ(choose_repetitions(takes(0.001), board, {.seconds = 0.0105}), 10);
    EXPECT_EQ(choose_repetitions(takes(1), board, {.seconds = 0.5}), 3) << "at least";
    EXPECT_EQ(choose_repetitions(takes(0), board, {.seconds = 3600}), 100'000) << "at most";
    EXPECT_EQ(choose_repetitions(takes(1), board, {.repetitions = 7}), 7);
  });
}

}  // namespace
}  // namespace gradwire::cli
