#include "cli/bench_timing.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "cli/bench_inputs.hpp"

namespace gradwire::cli {
namespace {

constexpr int kFewest = 3;
constexpr int kMost = 100'000;  // a store's value holds their times
constexpr int kWarmUps = 3;
/// Runs slower than this need no second one to warm up.
constexpr double kSlow = 0.05;

double run_once(BenchCase& one) {
  const auto start = std::chrono::steady_clock::now();
  one.plan.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A sum that stays in place grows by the number of ranks with every run: so many runs fit before it has to
/// be filled again. fp16 overflows first.
int runs_per_fill(const BenchCase& one, int ranks) {
  if (one.average || ranks == 1) return kMost;
  const double room = one.codec.starts_with("fp16") ? 13 : 96;
  return std::max(1, static_cast<int>(room / std::log2(static_cast<double>(ranks))));
}

/// The same on every rank: rank 0's clock decides.
int choose_repetitions(BenchCase& one, Communicator& communicator, BenchBoard& board,
                       const TimingOptions& options) {
  double seconds = 0;
  for (int i = 0; i < kWarmUps; ++i) {
    fill_input(one.values, one.seed, i, communicator.rank());
    communicator.barrier();
    seconds = run_once(one);
    if (board.announce(seconds > kSlow ? "slow" : "fast") == "slow") break;
  }
  const int wanted =
      options.repetitions > 0
          ? options.repetitions
          : std::clamp(static_cast<int>(options.seconds / std::max(seconds, 1e-7)), kFewest, kMost);
  return std::stoi(board.announce(std::to_string(wanted)));
}

double quantile(const std::vector<double>& sorted, double q) {
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

}  // namespace

void measure(BenchCase& one, Communicator& communicator, BenchBoard& board, const TimingOptions& options,
             BenchResult& result) {
  const int repetitions = choose_repetitions(one, communicator, board, options);
  const int batch = runs_per_fill(one, communicator.world_size());
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

  const auto all_times = board.gather(pack(times));
  const auto all_bytes = board.gather(std::to_string(one.plan.wire_bytes()));
  if (communicator.rank() != 0) return;
  for (const auto& text : all_times) {
    const auto theirs = unpack<double>(text);
    for (std::size_t i = 0; i < times.size(); ++i) times[i] = std::max(times[i], theirs.at(i));
  }
  std::sort(times.begin(), times.end());
  result.min_us = times.front() * 1e6;
  result.median_us = quantile(times, 0.5) * 1e6;
  result.p99_us = quantile(times, 0.99) * 1e6;
  for (const auto& text : all_bytes) {
    result.wire_bytes_per_rank = std::max<std::uint64_t>(result.wire_bytes_per_rank, std::stoull(text));
  }
}

}  // namespace gradwire::cli
