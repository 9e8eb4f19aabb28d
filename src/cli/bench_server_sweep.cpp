#include "cli/bench_server_sweep.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cli/bench_server_worker.hpp"
#include "cli/memcpy_rate.hpp"

namespace gradwire::cli {
namespace {

/// More do not make a rate better known, and every one is a request to wait for.
constexpr std::uint64_t kMostKeys = 256;

/// Repeats until the time is up, with whatever `repeat` does besides what it times.
std::vector<Repetition> repeat_all(const std::function<Repetition()>& repeat, BenchBoard& board,
                                   const TimingOptions& options) {
  const auto once = [&] {
    const auto begin = std::chrono::steady_clock::now();
    repeat();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::vector<Repetition> repetitions(static_cast<std::size_t>(choose_repetitions(once, board, options)));
  for (auto& repetition : repetitions) repetition = repeat();
  return repetitions;
}

std::vector<double> seconds_of(const std::vector<Repetition>& repetitions) {
  std::vector<double> seconds;
  seconds.reserve(repetitions.size());
  for (const auto& repetition : repetitions) seconds.push_back(repetition.seconds);
  return seconds;
}

class Sweep {
 public:
  Sweep(const BenchServerOptions& options, CommunicatorOptions job,
        const std::function<void(const BenchServerResult&)>& report)
      : options_(options),
        job_(std::move(job)),
        report_(report),
        communicator_(job_),
        board_(job_.store, job_.rank, job_.world_size, job_.timeout) {
    if (job_.rank == 0) memcpy_rate_.emplace();
  }

  void run();

 private:
  void run_size(const ParameterServerClientOptions& client, std::uint64_t bytes);
  void run_case(BenchServerWorker& worker, BenchServerResult& result);

  const BenchServerOptions& options_;
  const CommunicatorOptions job_;
  const std::function<void(const BenchServerResult&)>& report_;
  Communicator communicator_;
  BenchBoard board_;
  std::optional<MemcpyRate> memcpy_rate_;  ///< on rank 0
  int joins_ = 0;
};

void Sweep::run() {
  ParameterServerClientOptions client;
  client.job = options_.servers_job;
  client.workers = job_.world_size;
  client.link_rate = job_.link_rate;
  client.check_payload = job_.check_payload;
  client.timeout = job_.timeout;
  client.notice = options_.notice;
  for (const auto& transport : options_.transports) {
    client.transport = transport;
    for (std::size_t codec = 0; codec < options_.codecs.size(); ++codec) {
      client.push_codec = client.pull_codec = communicator_.codec_in_use(options_.codecs[codec]);
      client.servers = options_.addresses[codec];
      for (const std::uint64_t bytes : options_.sizes) run_size(client, bytes);
    }
  }
  board_.gather("bye");  // rank 0 serves the store, and leaves last
}

void Sweep::run_size(const ParameterServerClientOptions& client, std::uint64_t bytes) {
  BenchServerResult result;
  result.servers = static_cast<int>(client.servers.size());
  result.workers = client.workers;
  result.transport = client.transport;
  result.codec = client.push_codec;
  result.bytes = bytes;
  result.keys = key_count(options_, bytes);
  ParameterServerClientOptions own = client;
  // A number is free when its last worker has left, which a server may hear of later than of the next one.
  own.worker = joins_++ * job_.world_size + job_.rank;
  BenchServerWorker worker(own, communicator_, bytes, result.keys);
  for (const ServerOp op : options_.ops) {
    result.op = op;
    run_case(worker, result);
    if (job_.rank == 0) report_(result);
  }
}

void Sweep::run_case(BenchServerWorker& worker, BenchServerResult& result) {
  worker.settle();
  communicator_.barrier();
  if (memcpy_rate_) result.memcpy_gbps = memcpy_rate_->measure();
  board_.announce("copied");

  const auto all = repeat_all([&] { return worker.repeat(result.op, result.keys); }, board_, options_.timing);
  const auto single = repeat_all(
      [&] {
        const Repetition repetition = worker.repeat(result.op, 1);
        worker.settle();
        return repetition;
      },
      board_, options_.timing);

  const auto times = slowest_times(seconds_of(all), board_);
  const auto latencies = all_times(seconds_of(single), board_);
  std::uint64_t moved = 0;
  for (const auto& repetition : all) moved += repetition.wire_bytes;
  const auto all_moved = board_.gather(std::to_string(moved));
  if (job_.rank != 0) return;
  result.min_us = times.front() * 1e6;
  result.median_us = quantile(times, 0.5) * 1e6;
  result.p99_us = quantile(times, 0.99) * 1e6;
  result.wire_bytes = 0;
  for (const auto& text : all_moved) result.wire_bytes += std::stoull(text);
  result.wire_bytes /= all.size();
  result.latency_p50_us = quantile(latencies, 0.5) * 1e6;
  result.latency_p95_us = quantile(latencies, 0.95) * 1e6;
  result.latency_p99_us = quantile(latencies, 0.99) * 1e6;
}

}  // namespace

std::size_t key_count(const BenchServerOptions& options, std::uint64_t key_bytes) {
  return static_cast<std::size_t>(std::clamp<std::uint64_t>(options.bytes / key_bytes, 1, kMostKeys));
}

void sweep_servers(const BenchServerOptions& options, CommunicatorOptions job,
                   const std::function<void(const BenchServerResult&)>& report) {
  if (job.world_size > 1) job.store = open_store(job);
  Sweep(options, std::move(job), report).run();
}

}  // namespace gradwire::cli
