// Gradients on CUDA devices, one for each rank: exchanged on a CUDA stream, over NCCL, without a visit to the
// host.
#include <cuda_runtime.h>

#include <algorithm>
#include <gradwire/gradwire.hpp>
#include <gradwire/nccl.hpp>
#include <iostream>
#include <span>
#include <stdexcept>

namespace {

void require(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

float* zeros_on_device(std::size_t count) {
  void* memory = nullptr;
  require(cudaMalloc(&memory, sizeof(float) * count));
  require(cudaMemset(memory, 0, sizeof(float) * count));
  return static_cast<float*>(memory);
}

}  // namespace

int main() try {
  auto ranks = gradwire::Communicator::from_environment();
  const auto hosts = ranks.hosts();
  const auto own = hosts.begin() + ranks.rank();
  const auto device = static_cast<int>(std::count(hosts.begin(), own, *own));  // of this host's, one each
  gradwire::NcclCommunicator comm(ranks, gradwire::Device::cuda(device));

  require(cudaSetDevice(device));
  cudaStream_t stream = nullptr;
  require(cudaStreamCreate(&stream));
  constexpr std::size_t kCount = 1'000'000;
  float* gradient = zeros_on_device(kCount);
  float* residual = zeros_on_device(kCount);
  float* host = nullptr;  // page-locked: a copy from other memory waits for the stream
  require(cudaMallocHost(&host, sizeof(float) * kCount));
  std::fill_n(host, kCount, static_cast<float>(ranks.rank() + 1));
  {
    const gradwire::OperationTensor tensor{
        .tensor = {gradient, kCount, gradwire::DType::float32, comm.device()},
        .residual = {residual, kCount}};
    auto plan =
        comm.plan_allreduce(std::span(&tensor, 1), {.codec = "onebit", .average = true, .stream = stream});
    for (int step = 0; step < 10; ++step) {
      // What computes a gradient goes onto the stream here, and after start() what uses it.
      require(cudaMemcpyAsync(gradient, host, sizeof(float) * kCount, cudaMemcpyDefault, stream));
      plan.start();
      if (step % 5 == 4) plan.wait();  // this is where errors show: a rank that died, or a NaN
    }
  }
  float mean = 0;
  require(cudaMemcpy(&mean, gradient, sizeof mean, cudaMemcpyDefault));
  std::cout << "rank " << comm.rank() << " of " << comm.world_size() << ": mean " << mean << '\n';
  require(cudaFreeHost(host));
  require(cudaFree(gradient));
  require(cudaFree(residual));
  require(cudaStreamDestroy(stream));
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
