#pragma once

#include <cuda_runtime.h>

#include <string_view>

#include "compress/cuda/device.hpp"
#include "compress/cuda/launch_shape.hpp"
#include "compress/cuda/wide_store.cuh"

namespace gradwire::compress {

/// Throws what CUDA reports. `doing` completes "could not ...".
void check_cuda(cudaError_t status, std::string_view doing);

/// So that its first launch, which would do it otherwise, does not wait for what the device is doing.
template <class... Parameters>
void load_kernel(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, kernel), "load a kernel");
}

template <class... Parameters, class... Arguments>
void launch_kernel(void (*kernel)(Parameters...), const Grid& grid, Stream stream,
                   const Arguments&... arguments) {
  if (grid.blocks == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid.blocks);
  config.blockDim = dim3(grid.threads);
  config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, arguments...), "start a kernel");
}

/// A float array's elements as one access moves them: four at a multiple of 16 bytes, or a single one.
template <unsigned kWidth>
struct Floats {
  float at[kWidth];
};

template <unsigned kWidth>
__device__ __forceinline__ Floats<kWidth> load_floats(const float* from) {
  if constexpr (kWidth == 4) {
    const float4 quad = *reinterpret_cast<const float4*>(from);
    return {{quad.x, quad.y, quad.z, quad.w}};
  } else {
    return {{*from}};
  }
}

template <unsigned kWidth>
__device__ __forceinline__ void store_floats(float* to, const Floats<kWidth>& floats) {
  if constexpr (kWidth == 4) {
    store_wide(to, make_float4(floats.at[0], floats.at[1], floats.at[2], floats.at[3]));
  } else {
    *to = floats.at[0];
  }
}

template <unsigned kWidth>
__device__ __forceinline__ Floats<kWidth> zeros() {
  Floats<kWidth> all;
  for (unsigned c = 0; c < kWidth; ++c) all.at[c] = 0.0F;
  return all;
}

/// The residuals from element i on, +0 where there are none.
template <unsigned kWidth>
__device__ __forceinline__ Floats<kWidth> load_residuals(const float* residual, std::size_t i) {
  return residual == nullptr ? zeros<kWidth>() : load_floats<kWidth>(residual + i);
}

}  // namespace gradwire::compress
