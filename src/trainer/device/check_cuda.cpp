#include "trainer/device/check_cuda.hpp"

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::trainer {

const char* advice_for(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return "free memory there: train with fewer ranks on the device, or a smaller --hidden or --batch";
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion: return "build with CMAKE_CUDA_ARCHITECTURES for this device";
    case cudaErrorDevicesUnavailable:
      return "another process may hold the device for itself: give each rank its own, or let them share "
             "(nvidia-smi --compute-mode=DEFAULT)";
    default: return "see what nvidia-smi says; a kernel may have failed: compute-sanitizer finds it";
  }
}

void check_cuda(cudaError_t status, std::string_view doing) {
  if (status == cudaSuccess) return;
  // It would be reported to whoever asks for the last error next.
  (void)cudaGetLastError();
  throw Error(ErrorCode::system, fmt::format("CUDA could not {}: {}", doing, cudaGetErrorString(status)),
              advice_for(status));
}

}  // namespace gradwire::trainer
