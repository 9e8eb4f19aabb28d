#include "cli/bench_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "cli/bench_inputs.hpp"
#include "gradwire/inspect.hpp"

namespace gradwire::cli {
namespace {

constexpr int kOperations = 2;
using Inputs = std::vector<std::vector<float>>;

/// Per operation the hash of the result, and of the residual after it.
using Prints = std::array<std::uint64_t, 2 * kOperations>;

std::string compare(const std::vector<float>& got, const std::vector<float>& want, int operation) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(got[i]) == std::bit_cast<std::uint32_t>(want[i])) continue;
    return fmt::format("operation {}: element {} of rank 0 is {:a}, the oracle says {:a}", operation, i,
                       got[i], want[i]);
  }
  return {};
}

/// Any order of adding p numbers is off by at most (p - 1) roundings of their magnitudes; the mean costs one
/// more.
std::string compare_with_double(const std::vector<float>& got, const Inputs& inputs, bool average,
                                int operation) {
  const auto ranks = static_cast<double>(inputs.size());
  const double factor = average ? 1 / ranks : 1;
  const double roundings = ranks - 1 + (average ? 2 : 0);
  for (std::size_t i = 0; i < got.size(); ++i) {
    double sum = 0;
    double magnitude = 0;
    for (const auto& input : inputs) {
      sum += static_cast<double>(input[i]);
      magnitude += std::fabs(static_cast<double>(input[i]));
    }
    const double bound =
        roundings * static_cast<double>(std::numeric_limits<float>::epsilon()) * magnitude * factor;
    if (std::fabs(static_cast<double>(got[i]) - sum * factor) <= bound) continue;
    return fmt::format("operation {}: element {} is {:a}, in double precision {:a}", operation, i, got[i],
                       sum * factor);
  }
  return {};
}

void note(std::string& first, const std::string& difference) {
  if (first.empty()) first = difference;
}

/// Rank 0: runs the oracle beside what the ranks have got.
void judge(const BenchCase& one, const std::vector<int>& hosts,
           const std::vector<std::vector<float>>& results, const std::vector<Prints>& prints,
           BenchResult& result, std::string& first) {
  const int ranks = static_cast<int>(hosts.size());
  const std::size_t count = one.values.size();
  const bool lossy = !one.residual.empty();
  Inputs inputs(static_cast<std::size_t>(ranks), std::vector<float>(count));
  Inputs residuals;
  if (lossy) residuals.assign(static_cast<std::size_t>(ranks), std::vector<float>(count, 0.0F));
  bool equal = true;
  const auto expect = [&](const std::string& difference) {
    if (difference.empty()) return;
    equal = false;
    note(first, difference);
  };
  for (int operation = 0; operation < kOperations; ++operation) {
    for (int rank = 0; rank < ranks; ++rank) {
      fill_input(inputs[static_cast<std::size_t>(rank)], one.seed, operation, rank);
    }
    const auto at = static_cast<std::size_t>(operation);
    const auto want =
        inspect::oracle_allreduce(one.plan.algorithm(), one.codec, one.average, inputs, residuals, hosts);
    expect(compare(results[at], want, operation));
    if (one.codec == "none") expect(compare_with_double(results[at], inputs, one.average, operation));
    const std::uint64_t want_print = hash_bits(want);
    for (std::size_t rank = 0; rank < prints.size(); ++rank) {
      if (prints[rank][2 * at] != want_print) {
        expect(fmt::format("operation {}: rank {}'s result is not the oracle's", operation, rank));
      }
      if (lossy && prints[rank][2 * at + 1] != hash_bits(residuals[rank])) {
        expect(fmt::format("operation {}: rank {}'s residual is not the oracle's", operation, rank));
      }
    }
  }
  result.equals_oracle = equal;
}

}  // namespace

std::string check_against_oracle(BenchCase& one, Communicator& communicator, BenchBoard& board,
                                 BenchResult& result) {
  Prints mine{};
  std::vector<std::vector<float>> results;
  std::fill(one.residual.begin(), one.residual.end(), 0.0F);
  for (int operation = 0; operation < kOperations; ++operation) {
    fill_input(one.values, one.seed, operation, communicator.rank());
    one.plan.run();
    const auto at = static_cast<std::size_t>(operation);
    mine[2 * at] = hash_bits(one.values);
    mine[2 * at + 1] = hash_bits(one.residual);
    if (communicator.rank() == 0) results.push_back(one.values);
  }

  const auto texts = board.gather(pack(std::vector<std::uint64_t>(mine.begin(), mine.end())));
  std::string first;
  if (communicator.rank() == 0) {
    std::vector<Prints> prints;
    for (const auto& text : texts) {
      const auto numbers = unpack<std::uint64_t>(text);
      Prints print{};
      std::copy_n(numbers.begin(), print.size(), print.begin());
      prints.push_back(print);
    }
    bool identical = true;
    for (std::size_t rank = 0; rank < prints.size(); ++rank) {
      for (std::size_t at = 0; at < mine.size(); at += 2) {
        if (prints[rank][at] == mine[at]) continue;
        identical = false;
        note(first, fmt::format("operation {}: ranks 0 and {} have different results", at / 2, rank));
      }
    }
    result.identical = identical;
    judge(one, communicator.hosts(), results, prints, result, first);
  }
  // The others wait where they notice when somebody dies, however long the oracle takes.
  communicator.barrier();
  return first;
}

}  // namespace gradwire::cli
