#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "collectives/host_executor.hpp"
#include "collectives/oracle.hpp"
#include "collectives/resolve.hpp"
#include "fake_network.hpp"
#include "tests/support/every_algorithm.hpp"
#include "tests/support/quick.hpp"

namespace gradwire::collectives::testing {

/// Every codec, with each scale and two block sizes of the 1-bit one.
inline const std::vector<std::string>& codec_specs() {
  static const std::vector<std::string> specs{"none",
                                              "fp16",
                                              "bf16",
                                              "onebit",
                                              "onebit:scale=l1",
                                              "onebit:scale=l2",
                                              "onebit:block=64",
                                              "onebit:block=64,scale=l1",
                                              "onebit:block=64,scale=l2"};
  return specs;
}

/// One operation, the network that it meets, and the seed of its delays.
struct Job {
  std::string algorithm = "auto";
  std::string codec = "none";
  int ranks = 1;
  std::vector<std::size_t> counts;
  bool average = false;
  std::size_t capacity = 1;
  unsigned seed = 1;
  Collective collective = Collective::allreduce;
  int root = 0;
  std::vector<int> hosts = ragged_hosts(ranks);

  [[nodiscard]] std::string describe() const {
    return fmt::format("{} {} {} ranks {} hosts {} counts {} capacity {} seed {}", to_string(collective),
                       algorithm, codec, ranks, fmt::join(hosts, ","), fmt::join(counts, ","), capacity,
                       seed);
  }
};

/// The executors of all ranks in one thread, over a network with random delays.
class World {
 public:
  explicit World(const Job& job, const std::function<void(Schedule&)>& mutate = {})
      : job_(job),
        network_(job.ranks, job.capacity, job.seed),
        random_(job.seed + 1),
        codec_(compress::make_codec(job.codec)),
        resolved_(
            resolve(job.collective, job.algorithm, *codec_, job.counts, job.ranks, job.root, job.hosts)) {
    if (mutate) mutate(resolved_.schedule);
    for (int rank = 0; rank < job.ranks; ++rank) {
      executors_.push_back(std::make_unique<HostExecutor>(
          job.average, compile(resolved_.schedule, resolved_.layout, *codec_, rank), resolved_.layout,
          codec_));
    }
  }

  /// Runs the operation on float32 tensors, with residuals in place where there are some. Returns false when
  /// nothing can move any more although somebody is not finished.
  bool run(std::vector<RankData>& data) {
    std::vector<std::vector<Buffer>> buffers(data.size());
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      for (std::size_t i = 0; i < data[rank].tensors.size(); ++i) {
        auto& tensor = data[rank].tensors[i];
        auto& residual = data[rank].residuals[i];
        float* feedback = residual.empty() ? nullptr : residual.data();
        buffers[rank].push_back({Tensor(std::span(tensor)), tensor.data(), feedback, feedback});
      }
    }
    return run(buffers);
  }

  bool run(const std::vector<std::vector<Buffer>>& buffers) {
    for (std::size_t rank = 0; rank < buffers.size(); ++rank) {
      const wire::Header prototype{.operation = operation_, .sender = static_cast<std::uint32_t>(rank)};
      executors_[rank]->start(buffers[rank], prototype, 0);
    }
    ++operation_;
    int idle = 0;
    while (!std::ranges::all_of(executors_, [](const auto& executor) { return executor->finished(); })) {
      if (++idle > 10'000) return false;
      const int rank = static_cast<int>(random_() % static_cast<unsigned>(job_.ranks));
      for (int peer = 0; peer < job_.ranks; ++peer) {
        if (peer == rank) continue;
        Channel& channel = network_.channels(rank)[static_cast<std::size_t>(peer)];
        if (executor(rank).pump_receives(peer, channel)) idle = 0;
        if (executor(rank).pump_sends(peer, channel)) idle = 0;
      }
    }
    return true;
  }

  void oracle(std::vector<RankData>& data) const {
    run_oracle(resolved_.schedule, resolved_.layout, *compress::make_reference_codec(job_.codec),
               {.average = job_.average}, data);
  }

  HostExecutor& executor(int rank) { return *executors_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] const Schedule& schedule() const { return resolved_.schedule; }
  [[nodiscard]] const Layout& layout() const { return resolved_.layout; }

 private:
  Job job_;
  FakeNetwork network_;
  std::minstd_rand random_;
  std::shared_ptr<const compress::Codec> codec_;
  Resolved resolved_;
  std::vector<std::unique_ptr<HostExecutor>> executors_;
  std::uint32_t operation_ = 0;
};

}  // namespace gradwire::collectives::testing
