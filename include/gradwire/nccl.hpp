#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/communicator.hpp"
#include "gradwire/export.hpp"
#include "gradwire/tensor.hpp"

// What nccl.h calls ncclComm_t and cuda_runtime.h cudaEvent_t, as pointers.
struct ncclComm;    // NOLINT(readability-identifier-naming)
struct CUevent_st;  // NOLINT(readability-identifier-naming)

/// Collectives as work on the caller's CUDA stream, between devices that NCCL connects. The same schedules,
/// codecs and bits as a Communicator's, but frames never visit the host, and nothing on the host has to run
/// for them to advance. NCCL 2.18 or later (libnccl.so.2) is loaded when the first communicator is made:
/// without it, or in a build without nccl.h, there is Error(unsupported).
namespace gradwire {

namespace runtime {
class StreamEngine;
class StreamOperation;
}  // namespace runtime

struct NcclOptions {
  /// [rank]: the number of its host, from 0 in the order of the hosts' first ranks, for "hierarchical".
  /// Empty: those of the Communicator that it is made with, else a host for each rank.
  std::vector<int> hosts{};
  /// So long wait() waits for a stream, and the constructor for the other ranks, before Error(timeout).
  std::chrono::milliseconds timeout{300'000};
};

/// An operation bound to its tensors, made once and run many times. Running it allocates nothing. Copies
/// refer to the same one; one thread at a time may use them. The last of them to go waits for its runs.
class GRADWIRE_EXPORT NcclPlan {
 public:
  NcclPlan() = default;

  /// Puts a run on OperationOptions::stream and returns (the first ones wait until NCCL has connected the
  /// ranks that they exchange frames with, and so do calls of other threads meanwhile): it begins after what
  /// is there, and what is put there later comes after it. The tensors are lent until then. All ranks start
  /// the same plans in the same order, on streams where none waits for what comes after another's. A plan may
  /// be started again before its last run has ended. Throws Error: invalid_argument, where NCCL or CUDA
  /// refused something and nothing of the run is on the stream, so that it may be started once more; what
  /// wait() throws, but for non_finite. NCCL remembers what it has refused of a communicator that does not
  /// block, and of one that does when part of a run went before: then it is Error(system).
  void start();
  /// Waits, on the host, until the last run has ended. Throws Error: timeout; peer_lost, system, what NCCL or
  /// CUDA report; non_finite. Only here it is looked whether a NaN or infinity was met, in any run since the
  /// last look: every tensor is NaN then, and what the last run made of residuals what they were before it.
  /// Those that use results by the order of streams alone find NaN where it was met, and nothing else
  /// changed: a rank that looks, and one that does not, hold other values then, so look on all ranks alike.
  void wait();
  /// start() and wait().
  void run();
  /// Whether the last run has ended. Throws what wait() throws, but for non_finite.
  [[nodiscard]] bool done() const;
  /// A cudaEvent_t that the last run records at its end, for other streams to wait for: cudaStreamWaitEvent.
  /// It is the plan's, and lives as long.
  [[nodiscard]] CUevent_st* event() const;

  /// Whether the last wait() found a NaN or infinity, as Plan::non_finite().
  [[nodiscard]] bool non_finite() const;
  /// Bytes that one run gives NCCL to send to other ranks, without those of NCCL's own allreduce.
  [[nodiscard]] std::uint64_t wire_bytes() const;
  /// As Plan::algorithm(): that of the largest part, in bytes that travel, when tensors use different codecs.
  /// "nccl" where that is left to NCCL.
  [[nodiscard]] std::string algorithm() const;
  /// As Plan::owned().
  [[nodiscard]] std::pair<std::size_t, std::size_t> owned(std::size_t index) const;
  /// As Plan::swap_residuals(), for runs that are started from now on: runs under way are not disturbed.
  void swap_residuals();

 private:
  friend class NcclCommunicator;
  struct State;
  explicit NcclPlan(std::shared_ptr<State> state) noexcept;
  [[nodiscard]] State& state() const;

  std::shared_ptr<State> state_;
};

/// Ranks with a device each. Any thread may use it. After an Error other than invalid_argument, unsupported
/// or non_finite it is unusable, and everything throws the same error. NCCL checks neither that ranks do the
/// same nor what arrives: operations that differ end with timeout, or in wrong results.
/// Copies refer to the same communicator, and so do its plans; the last of them to go ends it.
///
/// After a failure, abort() and wait(), and plans and communicators that go, take seconds in all. NCCL itself
/// sets no bound to ncclCommAbort(), so that is called in a thread of its own, which is left there where it
/// does not return; streams may then never come to their ends, and what plans hold on the device is not
/// freed.
class GRADWIRE_EXPORT NcclCommunicator {
 public:
  /// On an ncclComm_t of the caller's, which stays his: it outlives this and its plans, and nobody else uses
  /// it at the same time. After a failure the caller has to ncclCommAbort() it before plans go, which wait
  /// some seconds, all together, for what they have on streams to end, and leave it there where it does not;
  /// wait() does not wait for that. One that blocks (ncclConfig_t::blocking) may wait inside of NCCL for
  /// ever: then nothing here ends that, and ncclCommAbort() comes before abort(). Codecs are replaced as the
  /// environment says (GRADWIRE_CODEC). Throws Error: invalid_argument for a communicator that NCCL does not
  /// take, unsupported.
  explicit NcclCommunicator(ncclComm* communicator, const NcclOptions& options = {});
  /// Collective over `ranks`: an NCCL communicator of their devices, one each, that is this one's own. They
  /// meet by `ranks`, which is not used afterwards; its CommunicatorOptions::codec counts here, too. Where
  /// one of them has no NCCL, or another version than rank 0, there is Error(unsupported) on all, naming it.
  /// Throws Error: that, invalid_argument (ranks that share a device, too), timeout, peer_lost, system.
  NcclCommunicator(Communicator& ranks, Device device, const NcclOptions& options = {});

  [[nodiscard]] int rank() const noexcept;
  [[nodiscard]] int world_size() const noexcept;
  [[nodiscard]] Device device() const noexcept;

  /// With `codec` "none", ncclAllReduce itself, whatever the algorithm: sums are in an order of NCCL's, and
  /// what is not finite is not looked for. All else has the bits of Communicator::plan_allreduce().
  /// Tensors are float32, and with their residuals on this device. Making a plan, like letting go of one, may
  /// wait for all that runs on the device: do it where no rank waits for what this one starts next. Throws
  /// Error: invalid_argument, unsupported; nothing was sent. Throws, too, what has made it unusable.
  NcclPlan plan_allreduce(std::span<const OperationTensor> tensors, const OperationOptions& options = {});
  NcclPlan plan_reduce_scatter(std::span<const OperationTensor> tensors,
                               const OperationOptions& options = {});
  NcclPlan plan_allgather(std::span<const OperationTensor> tensors, const OperationOptions& options = {});
  NcclPlan plan_broadcast(std::span<const OperationTensor> tensors, const OperationOptions& options = {});

  /// Gives it up here: what waits for other ranks on streams ends. These find out by NCCL, or by a timeout.
  void abort() noexcept;

 private:
  NcclPlan make_plan(collectives::Collective collective, std::span<const OperationTensor> tensors,
                     const OperationOptions& options) const;

  std::shared_ptr<runtime::StreamEngine> engine_;
};

}  // namespace gradwire
