#include "cli/bench_sweep.hpp"

#include <fmt/format.h>

#include <optional>

#include "cli/bench_check.hpp"
#include "cli/bench_measure.hpp"
#include "cli/command.hpp"
#include "cli/transports_in_use.hpp"

namespace gradwire::cli {
namespace {

/// Nothing for a transport that is not supported here, where those are left out; rank 0 says so.
std::optional<Communicator> connect(const CommunicatorOptions& job, bool leave_out_unsupported) {
  try {
    return Communicator(job);
  } catch (const Error& error) {
    if (!leave_out_unsupported || error.code() != ErrorCode::unsupported) throw;
    if (job.rank == 0) say(fmt::format("without {}: {}", job.transport, error.what()));
    return std::nullopt;
  }
}

}  // namespace

bool sweep(const BenchOptions& options, CommunicatorOptions job,
           const std::function<void(const BenchResult&, const std::string& difference)>& report) {
  if (job.world_size > 1) job.store = open_store(job);
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
    auto communicator = connect(job, options.leave_out_unsupported);
    ++job.id;
    if (!communicator) continue;
    for (const auto& algorithm : options.algorithms) {
      for (const auto& codec : options.codecs) {
        for (const std::uint64_t bytes : options.sizes) run_case(*communicator, algorithm, codec, bytes);
      }
    }
  }
  good = board.announce(good ? "good" : "bad") == "good";
  board.gather("bye");  // rank 0 serves the store, and leaves last
  return good;
}

}  // namespace gradwire::cli
