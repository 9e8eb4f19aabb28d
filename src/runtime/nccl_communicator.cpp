#include "gradwire/nccl.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/environment.hpp"
#include "collectives/resolve.hpp"
#include "compress/cuda/device.hpp"
#include "gradwire/error.hpp"
#include "runtime/engine.hpp"
#include "runtime/stream_engine.hpp"
#include "runtime/stream_operation.hpp"
#include "transport/nccl/nccl_links.hpp"

namespace gradwire {
namespace {

using collectives::Collective;

/// [rank]: the version of its NCCL as a float32, which holds it exactly; 0 where there is none.
std::vector<float> exchange_versions(Communicator& ranks, float own) {
  std::vector<float> versions(static_cast<std::size_t>(ranks.world_size()));
  versions[static_cast<std::size_t>(ranks.rank())] = own;
  ranks.allreduce(versions);
  return versions;
}

/// The options, checked. Throws on all ranks alike where they cannot be connected, on those that know why
/// saying that.
runtime::StreamEngine::Options require_nccl_everywhere(Communicator& ranks, Device device,
                                                       runtime::StreamEngine::Options options) {
  std::optional<Error> reason;
  float own = 0;
  try {
    options = options.checked(ranks.world_size());
    if (device.is_host()) {
      throw Error(ErrorCode::invalid_argument, "NCCL was to connect ranks on the host",
                  "name the CUDA device of this rank: Device::cuda(0)");
    }
    compress::require_device("an NCCL communicator");
    const compress::UseDevice here(device.number());
    own = static_cast<float>(transport::nccl_version());
  } catch (const Error& error) {
    reason = error;
  }
  const std::vector<float> versions = exchange_versions(ranks, own);
  if (reason) throw Error(*reason);
  for (std::size_t rank = 0; rank < versions.size(); ++rank) {
    if (versions[rank] == versions.front() && versions[rank] != 0) continue;
    const auto text = [&](std::size_t of) {
      return transport::nccl_version_text(static_cast<int>(versions[of]));
    };
    // Where rank 0 has none, that is the first to be found.
    throw Error(ErrorCode::unsupported,
                versions[rank] == 0
                    ? fmt::format("rank {} cannot use NCCL", rank)
                    : fmt::format("rank {} has NCCL {}, and rank 0 has {}", rank, text(rank), text(0)),
                versions[rank] == 0 ? "see what that rank says" : "install the same version everywhere",
                static_cast<int>(rank));
  }
  return options;
}

/// Rank 0's, by way of floats that hold a byte each.
transport::NcclId agree_on_id(Communicator& ranks) {
  transport::NcclId id{};
  std::vector<float> bytes(id.size() + 1);
  std::optional<Error> reason;
  if (ranks.rank() == 0) {
    try {
      id = transport::make_nccl_id();
      std::ranges::copy(id, bytes.begin());
      bytes.back() = 1;
    } catch (const Error& error) {
      reason = error;
    }
  }
  ranks.broadcast(bytes);
  if (reason) throw Error(*reason);
  if (bytes.back() != 1) {
    throw Error(ErrorCode::unsupported, "rank 0 cannot use NCCL", "see what that rank says", 0);
  }
  std::transform(bytes.begin(), bytes.end() - 1, id.begin(),
                 [](float byte) { return static_cast<std::uint8_t>(byte); });
  return id;
}

}  // namespace

struct NcclPlan::State {
  State(std::shared_ptr<runtime::StreamEngine> owner, std::unique_ptr<runtime::StreamOperation> made)
      : engine(std::move(owner)), operation(std::move(made)) {}
  ~State() { engine->end(std::move(operation)); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  std::shared_ptr<runtime::StreamEngine> engine;
  std::unique_ptr<runtime::StreamOperation> operation;
  bool non_finite = false;
};

NcclPlan::NcclPlan(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

NcclPlan::State& NcclPlan::state() const {
  if (!state_) {
    throw Error(ErrorCode::invalid_argument, "a plan that plans nothing was used",
                "make it with NcclCommunicator::plan_allreduce()");
  }
  return *state_;
}

void NcclPlan::start() { state().engine->start(*state().operation); }

void NcclPlan::wait() {
  State& all = state();
  all.non_finite = all.engine->wait(*all.operation);
  if (all.non_finite && all.operation->on_non_finite() == OnNonFinite::error) {
    throw Error(ErrorCode::non_finite,
                fmt::format("a NaN or infinity entered {} on some rank", all.operation->description()),
                "skip this step, or lower the learning rate or loss scale");
  }
}

void NcclPlan::run() {
  start();
  wait();
}

bool NcclPlan::done() const { return state().engine->done(*state().operation); }

CUevent_st* NcclPlan::event() const { return state().operation->event().get(); }

bool NcclPlan::non_finite() const { return state().non_finite; }

std::uint64_t NcclPlan::wire_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& part : state().operation->parts()) {
    if (part.executor) bytes += part.executor->program().sent_bytes;
  }
  return bytes;
}

std::string NcclPlan::algorithm() const {
  const auto& operation = *state().operation;
  const auto largest = std::ranges::max_element(operation.parts(), {}, &runtime::StreamPart::payload_bytes);
  if (largest == operation.parts().end()) return "none";
  if (!largest->executor) return "nccl";
  return std::string(collectives::algorithm_name(operation.collective(), largest->algorithm));
}

std::pair<std::size_t, std::size_t> NcclPlan::owned(std::size_t index) const {
  const auto& operation = *state().operation;
  if (index >= operation.tensor_count()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tensor {} of a plan with {}", index, operation.tensor_count()),
                "pass the index of one of its tensors");
  }
  for (const auto& part : operation.parts()) {
    const auto found = std::ranges::find(part.tensors, static_cast<std::uint32_t>(index));
    if (found == part.tensors.end() || !part.executor) continue;
    return runtime::owned_range(part.executor->layout(), state().engine->rank(),
                                static_cast<std::uint32_t>(found - part.tensors.begin()));
  }
  return {0, 0};
}

void NcclPlan::swap_residuals() { state().operation->swap_residuals(); }

NcclCommunicator::NcclCommunicator(ncclComm* communicator, const NcclOptions& options)
    : engine_(std::make_shared<runtime::StreamEngine>(
          transport::adopt_nccl_links(communicator, runtime::StreamEngine::checked(options.timeout)),
          runtime::StreamEngine::Options{options.hosts, base::Environment::read().codec, options.timeout})) {}

NcclCommunicator::NcclCommunicator(Communicator& ranks, Device device, const NcclOptions& options) {
  const auto checked = require_nccl_everywhere(ranks, device,
                                               {options.hosts.empty() ? ranks.hosts() : options.hosts,
                                                ranks.engine_->options().codec, options.timeout});
  const transport::NcclId id = agree_on_id(ranks);
  const compress::UseDevice here(device.number());
  engine_ = std::make_shared<runtime::StreamEngine>(
      transport::make_nccl_links(id, ranks.rank(), ranks.world_size(), device.number(), checked.timeout),
      checked);
}

int NcclCommunicator::rank() const noexcept { return engine_->rank(); }
int NcclCommunicator::world_size() const noexcept { return engine_->world_size(); }
Device NcclCommunicator::device() const noexcept { return Device::cuda(engine_->device()); }

NcclPlan NcclCommunicator::plan_allreduce(std::span<const OperationTensor> tensors,
                                          const OperationOptions& options) {
  return make_plan(Collective::allreduce, tensors, options);
}

NcclPlan NcclCommunicator::plan_reduce_scatter(std::span<const OperationTensor> tensors,
                                               const OperationOptions& options) {
  return make_plan(Collective::reduce_scatter, tensors, options);
}

NcclPlan NcclCommunicator::plan_allgather(std::span<const OperationTensor> tensors,
                                          const OperationOptions& options) {
  return make_plan(Collective::allgather, tensors, options);
}

NcclPlan NcclCommunicator::plan_broadcast(std::span<const OperationTensor> tensors,
                                          const OperationOptions& options) {
  return make_plan(Collective::broadcast, tensors, options);
}

NcclPlan NcclCommunicator::make_plan(Collective collective, std::span<const OperationTensor> tensors,
                                     const OperationOptions& options) const {
  return NcclPlan(std::make_shared<NcclPlan::State>(engine_, engine_->build(collective, tensors, options)));
}

void NcclCommunicator::abort() noexcept { engine_->abort(); }

}  // namespace gradwire
