#include "gradwire/communicator.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/environment.hpp"
#include "rendezvous/choose_store.hpp"
#include "runtime/engine.hpp"
#include "transport/mpi/mpi_transport.hpp"

namespace gradwire {
namespace {

using collectives::Collective;

OperationTensor single(Tensor tensor, std::span<float> residual) {
  return {.tensor = tensor, .residual = residual, .next_residual = {}, .codec = {}};
}

}  // namespace

Communicator::Communicator() : Communicator(CommunicatorOptions{}) {}

Communicator::Communicator(const CommunicatorOptions& options)
    : engine_(std::make_shared<runtime::Engine>(options)) {}

Communicator Communicator::from_environment() { return Communicator(options_from_environment()); }

CommunicatorOptions Communicator::options_from_environment() {
  const auto environment = base::Environment::read();
  CommunicatorOptions options;
  options.rank = environment.rank;
  options.world_size = environment.world_size;
  options.job = environment.job;
  if (environment.world_size > 1) {
    if (transport::is_started_by_mpi(environment.launcher)) options.mpi = transport::mpi_world();
    options.store_url = rendezvous::choose_store_url(environment, options.mpi != nullptr);
  }
  options.transport = environment.transport;
  options.interface = environment.interface;
  options.connections_per_peer = environment.connections;
  options.link_rate = environment.link_rate;
  options.timeout = environment.timeout;
  options.host_id = environment.host_id;
  options.codec = environment.codec;
  options.check_payload = environment.check;
  return options;
}

int Communicator::rank() const noexcept { return engine_->rank(); }
int Communicator::world_size() const noexcept { return engine_->world_size(); }

void Communicator::allreduce(Tensor tensor, const OperationOptions& options, std::span<float> residual) {
  allreduce_async(tensor, options, residual).wait();
}

Work Communicator::allreduce_async(Tensor tensor, const OperationOptions& options,
                                   std::span<float> residual) {
  const std::array tensors{single(tensor, residual)};
  return engine_->submit(engine_->cached(Collective::allreduce, tensors, options));
}

std::pair<std::size_t, std::size_t> Communicator::reduce_scatter(Tensor tensor,
                                                                 const OperationOptions& options,
                                                                 std::span<float> residual) {
  const std::array tensors{single(tensor, residual)};
  Plan plan(engine_, engine_->cached(Collective::reduce_scatter, tensors, options));
  plan.run();
  return plan.owned(0);
}

void Communicator::allgather(Tensor tensor, const OperationOptions& options, std::span<float> residual) {
  const std::array tensors{single(tensor, residual)};
  engine_->submit(engine_->cached(Collective::allgather, tensors, options)).wait();
}

void Communicator::broadcast(Tensor tensor, const OperationOptions& options, std::span<float> residual) {
  const std::array tensors{single(tensor, residual)};
  engine_->submit(engine_->cached(Collective::broadcast, tensors, options)).wait();
}

void Communicator::barrier() {
  // One element on its way in and out again: nobody has the result before all have given theirs.
  float token = 0;
  const std::array tensors{single(std::span(&token, 1), {})};
  engine_->submit(engine_->cached(Collective::barrier, tensors, {})).wait();
}

Plan Communicator::plan_allreduce(std::span<const OperationTensor> tensors, const OperationOptions& options) {
  return make_plan(Collective::allreduce, tensors, options);
}

Plan Communicator::plan_reduce_scatter(std::span<const OperationTensor> tensors,
                                       const OperationOptions& options) {
  return make_plan(Collective::reduce_scatter, tensors, options);
}

Plan Communicator::plan_allgather(std::span<const OperationTensor> tensors, const OperationOptions& options) {
  return make_plan(Collective::allgather, tensors, options);
}

Plan Communicator::plan_broadcast(std::span<const OperationTensor> tensors, const OperationOptions& options) {
  return make_plan(Collective::broadcast, tensors, options);
}

Plan Communicator::make_plan(Collective collective, std::span<const OperationTensor> tensors,
                             const OperationOptions& options) {
  return {engine_, engine_->build(collective, tensors, options)};
}

std::string Communicator::codec_in_use(const std::string& codec) const {
  return runtime::codec_in_use(codec, engine_->options().codec);
}

Communicator Communicator::split(int color) {
  constexpr int kColors = 1 << 24;  // float32 holds them exactly
  if (color < 0 || color >= kColors) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the color {}", color),
                fmt::format("choose one from 0 to {}", kColors - 1));
  }
  std::vector<float> colors(static_cast<std::size_t>(world_size()));
  const auto own = static_cast<std::ptrdiff_t>(rank());
  colors[static_cast<std::size_t>(own)] = static_cast<float>(color);
  allreduce(colors);
  const auto is_ours = [&](float other) { return other == static_cast<float>(color); };
  CommunicatorOptions options = engine_->options();
  options.rank = static_cast<int>(std::count_if(colors.begin(), colors.begin() + own, is_ours));
  options.world_size = static_cast<int>(std::count_if(colors.begin(), colors.end(), is_ours));
  options.id = engine_->id_of_split(static_cast<std::uint32_t>(color));
  return Communicator(options);
}

Traffic Communicator::traffic() const { return engine_->traffic(); }
std::vector<int> Communicator::hosts() const {
  const auto hosts = engine_->hosts();
  return hosts.empty() ? std::vector<int>{0} : std::vector<int>(hosts.begin(), hosts.end());
}
std::string Communicator::transport_to(int peer) const { return engine_->transport_to(peer); }
void Communicator::abort() noexcept { engine_->abort(); }
void Communicator::start_progress_thread() { engine_->start_progress_thread(); }

}  // namespace gradwire
