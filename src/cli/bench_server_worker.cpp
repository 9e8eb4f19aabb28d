#include "cli/bench_server_worker.hpp"

#include <fmt/format.h>

#include <chrono>

#include "cli/bench_inputs.hpp"
#include "gradwire/work.hpp"

namespace gradwire::cli {
namespace {

/// Every key's memory begins on a cache line, as that of a tensor does.
constexpr std::size_t kLine = 64 / sizeof(float);
/// So many elements for each server are split over all of them, whatever the codec's blocks are.
constexpr std::size_t kProbePerServer = 65'536;
constexpr const char* kProbe = "bench/probe";
constexpr std::uint64_t kSeed = 1;

constexpr std::size_t stride(std::size_t count) { return (count + kLine - 1) / kLine * kLine; }

}  // namespace

BenchServerWorker::BenchServerWorker(const ParameterServerClientOptions& options, Communicator& workers,
                                     std::uint64_t key_bytes, std::size_t keys)
    : workers_(workers),
      count_(key_bytes / sizeof(float)),
      values_(keys * stride(count_)),
      gradients_(keys * stride(count_)),
      probe_(options.servers.size() * kProbePerServer),
      client_(options) {
  client_.init(kProbe, std::span(probe_));
  for (std::size_t key = 0; key < keys; ++key) {
    names_.push_back(fmt::format("bench/{}/{}", key_bytes, key));
    fill_input(part(gradients_, key), kSeed, static_cast<int>(key), workers.rank());
    client_.init(names_.back(), part(values_, key));
  }
}

std::span<float> BenchServerWorker::part(base::AlignedVector<float>& all, std::size_t key) const {
  return std::span(all).subspan(key * stride(count_), count_);
}

void BenchServerWorker::push(std::size_t keys) {
  for (std::size_t key = 0; key < keys; ++key) (void)client_.push(names_[key], part(gradients_, key));
}

std::uint64_t BenchServerWorker::wire_bytes() const {
  const auto report = client_.report();
  return report.wire_bytes_sent + report.wire_bytes_received;
}

Repetition BenchServerWorker::repeat(ServerOp op, std::size_t keys) {
  if (op == ServerOp::pull) {
    push(keys);
    client_.clock();
    client_.flush();
    settle();
  }
  workers_.barrier();
  const std::uint64_t bytes_before = wire_bytes();
  const auto begin = std::chrono::steady_clock::now();
  std::vector<Work> pulls;
  if (op == ServerOp::push) push(keys);
  for (std::size_t key = 0; key < keys && op == ServerOp::pull; ++key) {
    pulls.push_back(client_.pull(names_[key], part(values_, key)));
  }
  for (std::size_t key = 0; key < keys && op == ServerOp::push_pull; ++key) {
    pulls.push_back(client_.push_pull(names_[key], part(gradients_, key), part(values_, key)));
  }
  if (op != ServerOp::pull) client_.clock();
  for (Work& pull : pulls) pull.wait();
  client_.flush();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  return {time.count(), wire_bytes() - bytes_before};
}

/// In step a pull waits until every worker has finished the step before. Nothing has changed in this key, so
/// that nothing is moved.
void BenchServerWorker::settle() { client_.pull(kProbe, std::span(probe_)).wait(); }

}  // namespace gradwire::cli
