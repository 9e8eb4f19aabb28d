#include "cli/bench_timing.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

namespace gradwire::cli {
namespace {

constexpr double kFewest = 3;
constexpr double kMost = 100'000;  // a store's value holds their times
constexpr int kWarmUps = 3;
/// Runs slower than this need no second one to warm up.
constexpr double kSlow = 0.05;

}  // namespace

int choose_repetitions(const std::function<double()>& once, BenchBoard& board, const TimingOptions& options) {
  double seconds = 0;
  for (int i = 0; i < kWarmUps; ++i) {
    seconds = once();
    if (board.announce(seconds > kSlow ? "slow" : "fast") == "slow") break;
  }
  const int wanted =
      options.repetitions > 0
          ? options.repetitions
          : static_cast<int>(std::clamp(options.seconds / std::max(seconds, 1e-7), kFewest, kMost));
  return std::stoi(board.announce(std::to_string(wanted)));
}

std::vector<double> slowest_times(const std::vector<double>& times, BenchBoard& board) {
  std::vector<double> slowest;
  for (const auto& text : board.gather(pack(times))) {
    const auto theirs = unpack<double>(text);
    slowest.resize(theirs.size());
    for (std::size_t i = 0; i < theirs.size(); ++i) slowest[i] = std::max(slowest[i], theirs[i]);
  }
  std::sort(slowest.begin(), slowest.end());
  return slowest;
}

std::vector<double> all_times(const std::vector<double>& times, BenchBoard& board) {
  std::vector<double> all;
  for (const auto& text : board.gather(pack(times))) {
    const auto theirs = unpack<double>(text);
    all.insert(all.end(), theirs.begin(), theirs.end());
  }
  std::sort(all.begin(), all.end());
  return all;
}

double quantile(const std::vector<double>& sorted, double q) {
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

}  // namespace gradwire::cli
