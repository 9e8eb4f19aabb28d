#pragma once

// What compress/cuda/ and src/trainer/device/ use of CUDA, on the host: their kernels compiled as C++ and run
// by fibers, and of the runtime what they and their launches call. It is stricter than a device: a kernel
// that was not loaded before is not launched, streams are as late as they may be, new memory is all NaN, and
// what fibers.hpp says of warps and barriers.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <vector>

#include "devices.hpp"
#include "fibers.hpp"

// NOLINTBEGIN
#define __host__
#define __device__
#define __global__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct dim3 {
  dim3(unsigned count = 1) : x(count) {}
  unsigned x;
};
inline dim3 threadIdx, blockIdx, blockDim;

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

inline unsigned __ballot_sync(unsigned /*mask*/, bool vote) {
  return cuda_on_host::meet(cuda_on_host::At::ballot, vote ? 1 : 0, 0);
}
inline float __shfl_xor_sync(unsigned /*mask*/, float value, unsigned distance) {
  return std::bit_cast<float>(
      cuda_on_host::meet(cuda_on_host::At::exchange, std::bit_cast<unsigned>(value), distance));
}
inline void __syncthreads() { cuda_on_host::meet(cuda_on_host::At::barrier, 0, 0); }
inline int __popc(unsigned bits) { return std::popcount(bits); }

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorCallRequiresNewerDriver = 36,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorUnsupportedPtxVersion = 222,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorLaunchFailure = 719,
};
inline const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaErrorLaunchFailure ? "a kernel was launched that had not been loaded"
                                          : "as the test wants it";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

namespace cuda_on_host {
inline cudaError_t refused(const char* function) {
  const auto refusal = world().refusals.find(function);
  return refusal == world().refusals.end() ? cudaSuccess : static_cast<cudaError_t>(refusal->second);
}
}  // namespace cuda_on_host
#define CUDA_ON_HOST_MAY_REFUSE() \
  if (const cudaError_t status = cuda_on_host::refused(__func__); status != cudaSuccess) return status

// Devices

#define CUDART_VERSION 13000
#define __CUDA_ARCH_LIST__ 800, 900
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
struct cudaDeviceProp {
  char name[32];
};
inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  CUDA_ON_HOST_MAY_REFUSE();
  *count = cuda_on_host::kDevices;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  CUDA_ON_HOST_MAY_REFUSE();
  *device = cuda_on_host::world().device;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  cuda_on_host::world().device = device;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int device) {
  CUDA_ON_HOST_MAY_REFUSE();
  *value = which == cudaDevAttrComputeCapabilityMajor
               ? cuda_on_host::world().majors[static_cast<std::size_t>(device)]
               : 0;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int /*device*/) {
  CUDA_ON_HOST_MAY_REFUSE();
  std::strcpy(properties->name, "the host");
  return cudaSuccess;
}

// Streams and events

using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
enum {
  cudaStreamNonBlocking = 1,
  cudaEventDefault = 0,
  cudaEventBlockingSync = 1,
  cudaEventDisableTiming = 2
};
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  CUDA_ON_HOST_MAY_REFUSE();
  *stream = new CUstream_st(cuda_on_host::world().device);
  cuda_on_host::world().streams.insert(*stream);
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  stream->run_all();
  cuda_on_host::world().streams.erase(stream);
  delete stream;
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  CUDA_ON_HOST_MAY_REFUSE();
  ++cuda_on_host::world().spinning_waits;
  if (stream != nullptr) stream->run_all();
  return cudaSuccess;
}
inline cudaError_t cudaStreamGetDevice(cudaStream_t stream, int* device) {
  CUDA_ON_HOST_MAY_REFUSE();
  *device = stream->device;
  return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  CUDA_ON_HOST_MAY_REFUSE();
  *event = new CUevent_st{flags};
  return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const auto mark = std::make_shared<cuda_on_host::Mark>(cuda_on_host::Mark{stream});
  event->mark = mark;
  cuda_on_host::put(stream, [mark] { mark->reached = true; });
  return cudaSuccess;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  if (event->mark != nullptr) cuda_on_host::put(stream, [mark = event->mark] { mark->reach(); });
  return cudaSuccess;
}
/// Who asks again and again gets on by one piece of work each time.
inline cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event->mark == nullptr || event->mark->reached) return cudaSuccess;
  event->mark->stream->run_one();
  return cudaErrorNotReady;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  CUDA_ON_HOST_MAY_REFUSE();
  const bool sleeps = (event->flags & cudaEventBlockingSync) != 0;
  ++(sleeps ? cuda_on_host::world().sleeping_waits : cuda_on_host::world().spinning_waits);
  if (event->mark != nullptr) event->mark->reach();
  return cudaSuccess;
}
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  if (((begin->flags | end->flags) & cudaEventDisableTiming) != 0) return cudaErrorInvalidResourceHandle;
  *milliseconds = 1;
  return cudaSuccess;
}

// Memory

enum cudaMemoryType {
  cudaMemoryTypeUnregistered,
  cudaMemoryTypeHost,
  cudaMemoryTypeDevice,
  cudaMemoryTypeManaged
};
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
inline cudaError_t cuda_on_host_allocate(void** memory, std::size_t bytes, cuda_on_host::Owner owner) {
  if (bytes > cuda_on_host::kMemory) return cudaErrorMemoryAllocation;
  // So many bytes and no more, that AddressSanitizer sees where they end.
  if (::posix_memalign(memory, 256, bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xff, bytes);
  cuda_on_host::world().memory[static_cast<std::byte*>(*memory)] = {bytes, owner,
                                                                    cuda_on_host::world().device};
  return cudaSuccess;
}
inline cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  CUDA_ON_HOST_MAY_REFUSE();
  return cuda_on_host_allocate(memory, bytes, cuda_on_host::Owner::device);
}
inline cudaError_t cudaMallocManaged(void** memory, std::size_t bytes) {
  return cuda_on_host_allocate(memory, bytes, cuda_on_host::Owner::managed);
}
inline cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  CUDA_ON_HOST_MAY_REFUSE();
  return cuda_on_host_allocate(memory, bytes, cuda_on_host::Owner::host);
}
inline cudaError_t cudaFree(void* memory) {
  for (CUstream_st* const stream : cuda_on_host::world().streams) {
    if (!stream->work.empty()) ++cuda_on_host::world().early_frees;
    stream->run_all();
  }
  cuda_on_host::world().memory.erase(static_cast<std::byte*>(memory));
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const cuda_on_host::Allocation* found = cuda_on_host::world().find(pointer);
  *attributes = {cudaMemoryTypeUnregistered, 0};
  if (found == nullptr) return cudaSuccess;
  const bool managed = found->owner == cuda_on_host::Owner::managed;
  const bool device = found->owner == cuda_on_host::Owner::device;
  *attributes = {managed  ? cudaMemoryTypeManaged
                 : device ? cudaMemoryTypeDevice
                          : cudaMemoryTypeHost,
                 found->device};
  return cudaSuccess;
}
enum { cudaMemcpyDefault = 4 };
/// Of host memory that is not pinned, what is copied has been read when the call returns, or written.
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, int /*kind*/,
                                   cudaStream_t stream) {
  CUDA_ON_HOST_MAY_REFUSE();
  const cuda_on_host::World& world = cuda_on_host::world();
  if (!world.holds_all(to, bytes) || !world.holds_all(from, bytes)) return cudaErrorInvalidValue;
  if (world.find(from) == nullptr) {
    const auto* const begin = static_cast<const std::byte*>(from);
    cuda_on_host::put(stream, [to, staged = std::vector<std::byte>(begin, begin + bytes)] {
      std::memcpy(to, staged.data(), staged.size());
    });
  } else {
    cuda_on_host::put(stream, [=] { std::memcpy(to, from, bytes); });
  }
  if (stream != nullptr && world.find(to) == nullptr) stream->run_all();
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (!cuda_on_host::world().holds_all(to, bytes)) return cudaErrorInvalidValue;
  cuda_on_host::put(stream, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}

// Kernels

struct cudaFuncAttributes {};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  cudaStream_t stream;
};
template <class... Parameters>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* /*attributes*/, void (*kernel)(Parameters...)) {
  CUDA_ON_HOST_MAY_REFUSE();
  cuda_on_host::world().loaded.emplace(cuda_on_host::world().device, reinterpret_cast<const void*>(kernel));
  return cudaSuccess;
}
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  const int device = cuda_on_host::world().device;
  if (config->stream != nullptr && config->stream->device != device) return cudaErrorInvalidResourceHandle;
  if (!cuda_on_host::world().loaded.contains({device, reinterpret_cast<const void*>(kernel)})) {
    return cudaErrorLaunchFailure;
  }
  if (config->gridDim.x == 0 || config->blockDim.x > 1024) return cudaErrorInvalidValue;
  const auto grid = config->gridDim;
  const auto block = config->blockDim;
  cuda_on_host::put(config->stream, [=, held = std::tuple<Parameters...>(arguments...)] {
    const std::function<void()> body = [&] { std::apply(kernel, held); };
    const std::function<void(unsigned)> switched = [](unsigned thread) { threadIdx.x = thread; };
    blockDim = block;
    for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
      cuda_on_host::run_block(blockDim.x, blockIdx.x % 2 == 1, body, switched);
    }
  });
  return cudaSuccess;
}
// NOLINTEND
