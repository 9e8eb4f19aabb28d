#include "cli/bench_measure.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "cli/bench_inputs.hpp"

namespace gradwire::cli {
namespace {

double run_once(BenchCase& one) {
  const auto start = std::chrono::steady_clock::now();
  one.plan.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A sum that stays in place grows by the number of ranks with every run: so many runs fit before it has to
/// be filled again. fp16 overflows first.
int runs_per_fill(const BenchCase& one, int ranks, int runs) {
  if (one.average || ranks == 1) return runs;
  const double room = one.codec.starts_with("fp16") ? 13 : 96;
  return std::max(1, static_cast<int>(room / std::log2(static_cast<double>(ranks))));
}

}  // namespace

void measure(BenchCase& one, Communicator& communicator, BenchBoard& board, const TimingOptions& options,
             BenchResult& result) {
  int warm_ups = 0;
  const auto warm_up = [&] {
    fill_input(one.values, one.seed, warm_ups++, communicator.rank());
    communicator.barrier();
    return run_once(one);
  };
  const int repetitions = choose_repetitions(warm_up, board, options);
  const int batch = runs_per_fill(one, communicator.world_size(), repetitions);
  std::vector<float> input(one.values.size());
  fill_input(input, one.seed, 0, communicator.rank());
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(repetitions));
  for (int done = 0; done < repetitions; ++done) {
    if (done % batch == 0) {
      std::copy(input.begin(), input.end(), one.values.begin());
      std::fill(one.residual.begin(), one.residual.end(), 0.0F);
      communicator.barrier();
    }
    times.push_back(run_once(one));
  }

  const auto slowest = slowest_times(times, board);
  const std::array<std::uint64_t, 2> sent{one.plan.wire_bytes(), one.plan.wire_bytes_inside()};
  const auto all_sent = board.gather(pack(std::vector<std::uint64_t>(sent.begin(), sent.end())));
  if (communicator.rank() != 0) return;
  result.min_us = slowest.front() * 1e6;
  result.median_us = quantile(slowest, 0.5) * 1e6;
  result.p99_us = quantile(slowest, 0.99) * 1e6;
  for (const auto& text : all_sent) {
    const auto bytes = unpack<std::uint64_t>(text);
    result.wire_bytes_per_rank = std::max(result.wire_bytes_per_rank, bytes[0]);
    result.wire_bytes_between_hosts += bytes[0] - bytes[1];
  }
}

}  // namespace gradwire::cli
