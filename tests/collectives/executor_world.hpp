#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "collectives/device_arithmetic.hpp"
#include "collectives/host_arithmetic.hpp"
#include "collectives/host_executor.hpp"
#include "collectives/oracle.hpp"
#include "collectives/resolve.hpp"
#include "compress/convert.hpp"
#include "fake_network.hpp"
#include "tests/support/device_copy.hpp"
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
  unsigned devices = 0;                       ///< bit r: the tensors of rank r are on CUDA device 0
  std::vector<DType> dtypes{DType::float32};  ///< of the tensors, over and over

  [[nodiscard]] bool on_device(int rank) const { return (devices >> static_cast<unsigned>(rank) & 1U) != 0; }

  [[nodiscard]] std::string describe() const {
    std::string types;
    for (const DType dtype : dtypes) types += fmt::format(" {}", to_string(dtype));
    return fmt::format("{} {} {} ranks {} hosts {} counts {} capacity {} seed {} devices {:b}{}",
                       to_string(collective), algorithm, codec, ranks, fmt::join(hosts, ","),
                       fmt::join(counts, ","), capacity, seed, devices, types);
  }
  [[nodiscard]] DType dtype(std::size_t tensor) const { return dtypes[tensor % dtypes.size()]; }
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
      executors_.push_back(std::make_unique<HostExecutor>(make_arithmetic(rank)));
    }
  }

  /// Runs the operation on tensors of the job's types, with residuals in place where there are some. Returns
  /// false when nothing can move any more although somebody is not finished.
  bool run(std::vector<RankData>& data) {
    std::vector<std::vector<Buffer>> buffers(data.size());
    std::vector<std::unique_ptr<DeviceCopy>> copies;
    std::vector<std::vector<std::uint16_t>> halves;
    std::vector<std::vector<float>> scratch;
    halves.reserve(data.size() * job_.counts.size());
    scratch.reserve(data.size() * job_.counts.size());
    for (std::size_t rank = 0; rank < data.size(); ++rank) {
      const auto place = [&](auto& elements) {
        if (!job_.on_device(static_cast<int>(rank))) return reinterpret_cast<float*>(elements.data());
        copies.push_back(std::make_unique<DeviceCopy>(elements, caller_->get()));
        return copies.back()->data();
      };
      for (std::size_t i = 0; i < data[rank].tensors.size(); ++i) {
        auto& tensor = data[rank].tensors[i];
        auto& residual = data[rank].residuals[i];
        float* const feedback = residual.empty() ? nullptr : place(residual);
        if (job_.dtype(i) == DType::float32) {
          float* const values = place(tensor);
          buffers[rank].push_back(
              {Tensor(values, tensor.size(), DType::float32), values, feedback, feedback});
          continue;
        }
        auto& narrow = halves.emplace_back(tensor.size());
        compress::from_float32(job_.dtype(i), tensor.data(), narrow.data(), narrow.size());
        float* const work = place(scratch.emplace_back(tensor.size()));
        buffers[rank].push_back(
            {Tensor(place(narrow), tensor.size(), job_.dtype(i)), work, feedback, feedback});
      }
    }
    const bool done = run(buffers);
    for (const auto& copy : copies) copy->fetch(caller_->get());
    if (caller_) caller_->wait();
    auto narrow = halves.begin();
    for (RankData& rank : data) {
      for (std::size_t i = 0; i < rank.tensors.size(); ++i) {
        if (job_.dtype(i) == DType::float32) continue;
        compress::to_float32(job_.dtype(i), narrow->data(), rank.tensors[i].data(), narrow->size());
        ++narrow;
      }
    }
    return done;
  }

  bool run(const std::vector<std::vector<Buffer>>& buffers) {
    for (std::size_t rank = 0; rank < buffers.size(); ++rank) {
      const wire::Header prototype{.operation = operation_, .sender = static_cast<std::uint32_t>(rank)};
      if (job_.on_device(static_cast<int>(rank))) note_callers_stream(caller_->get());
      executors_[rank]->start(buffers[rank], prototype, 0);
    }
    ++operation_;
    int idle = 0;
    while (!std::ranges::all_of(executors_, [](const auto& executor) { return executor->finished(); })) {
      if (std::ranges::any_of(executors_, [](const auto& executor) { return executor->has_said_no(); })) {
        idle = 0;
        std::this_thread::yield();
      }
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

  /// What is on this stream now comes before the next operation on devices.
  void note_callers_stream(compress::Stream stream) const { ready_->record(stream); }

  [[nodiscard]] std::vector<std::uint32_t> digests() const { return network_.digests(); }
  HostExecutor& executor(int rank) { return *executors_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] const Schedule& schedule() const { return resolved_.schedule; }
  [[nodiscard]] const Layout& layout() const { return resolved_.layout; }

 private:
  std::unique_ptr<CellArithmetic> make_arithmetic(int rank) {
    const auto program = [&](FrameMemory frames) {
      return compile(resolved_.schedule, resolved_.layout, *codec_, rank, frames);
    };
    if (!job_.on_device(rank)) {
      return std::make_unique<HostArithmetic>(job_.average, program(FrameMemory::in_tensors),
                                              resolved_.layout, codec_);
    }
    if (!caller_) {
      caller_ = std::make_unique<compress::OwnStream>();
      ready_ = std::make_shared<compress::Event>();
    }
    return std::make_unique<DeviceArithmetic>(job_.average, program(FrameMemory::apart), resolved_.layout,
                                              codec_, 0, ready_);
  }

  Job job_;
  FakeNetwork network_;
  std::minstd_rand random_;
  std::shared_ptr<const compress::Codec> codec_;
  Resolved resolved_;
  std::unique_ptr<compress::OwnStream> caller_;  ///< null: all tensors are on the host
  std::shared_ptr<compress::Event> ready_;
  std::vector<std::unique_ptr<HostExecutor>> executors_;
  std::uint32_t operation_ = 0;
};

}  // namespace gradwire::collectives::testing
