#include "cli/bench_sweep.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/bench_check.hpp"
#include "cli/exit_status.hpp"
#include "cli/transports_in_use.hpp"

namespace gradwire::cli {

std::vector<std::string> parse_list(const std::string& text, const std::vector<std::string>& all) {
  if (text == "all") return all;
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string piece = text.substr(begin, end - begin);
    begin = end + 1;
    const bool option = piece.find('=') != std::string::npos && piece.find(':') == std::string::npos;
    if (piece.empty() || (option && out.empty())) {
      throw UsageError(fmt::format("'{}' is not a list of names with commas between them", text));
    }
    if (option) {
      out.back() += "," + piece;
    } else {
      out.push_back(piece);
    }
  }
  return out;
}

std::vector<std::uint64_t> parse_sizes(std::uint64_t min, std::uint64_t max, double factor) {
  constexpr double kSlowest = 1.01;
  constexpr std::uint64_t kElement = sizeof(float);
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 40U;
  if (min % kElement != 0 || min == 0) {
    throw UsageError(fmt::format("--min {} is not a multiple of {} bytes, a float32", min, kElement));
  }
  if (max < min) throw UsageError(fmt::format("--max {} is less than --min {}", max, min));
  if (max > kLargest) throw UsageError(fmt::format("--max {} is more than this can be meant for", max));
  if (!(factor >= kSlowest)) throw UsageError(fmt::format("--factor {} is not {} or more", factor, kSlowest));
  std::vector<std::uint64_t> out;
  auto exact = static_cast<double>(min);
  while (exact <= static_cast<double>(max)) {
    const std::uint64_t size = static_cast<std::uint64_t>(exact) / kElement * kElement;
    if (out.empty() || size > out.back()) out.push_back(size);
    exact *= factor;
  }
  return out;
}

bool sweep(const BenchOptions& options, CommunicatorOptions job,
           const std::function<void(const BenchResult&, const std::string& difference)>& report) {
  if (job.world_size > 1 && !job.store) job.store = open_store(job.store_url, job.rank, job.timeout);
  BenchBoard board(job.store, job.rank, job.world_size, job.timeout);
  bool good = true;

  const auto run_case = [&](Communicator& communicator, const std::string& algorithm,
                            const std::string& codec, std::uint64_t bytes) {
    BenchCase one;
    one.codec = communicator.codec_in_use(codec);
    one.average = options.average;
    one.seed = options.seed;
    one.values.resize(bytes / sizeof(float));
    if (one.codec != "none") one.residual.resize(one.values.size());
    OperationOptions operation;
    operation.codec = codec;
    operation.algorithm = algorithm;
    operation.average = options.average;
    OperationTensor tensor;
    tensor.tensor = Tensor(one.values);
    tensor.residual = one.residual;
    one.plan = communicator.plan_allreduce({&tensor, 1}, operation);

    BenchResult result;
    result.ranks = communicator.world_size();
    result.transport = transports_in_use(communicator);
    result.algorithm = one.plan.algorithm();
    result.codec = one.codec;
    result.bytes = bytes;
    std::string difference;
    if (options.check) difference = check_against_oracle(one, communicator, board, result);
    measure(one, communicator, board, options.timing, result);
    good = good && result.identical.value_or(true) && result.equals_oracle.value_or(true);
    if (communicator.rank() == 0) report(result, difference);
  };

  const auto transports = options.transports.empty() ? std::vector{job.transport} : options.transports;
  for (const auto& transport : transports) {
    job.transport = transport;
    Communicator communicator(job);
    ++job.id;
    for (const auto& algorithm : options.algorithms) {
      for (const auto& codec : options.codecs) {
        for (const std::uint64_t bytes : options.sizes) run_case(communicator, algorithm, codec, bytes);
      }
    }
  }
  good = board.announce(good ? "good" : "bad") == "good";
  board.gather("bye");  // rank 0 serves the store, and leaves last
  return good;
}

}  // namespace gradwire::cli
