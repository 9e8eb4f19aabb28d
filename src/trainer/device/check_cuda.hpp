#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

namespace gradwire::trainer {

/// Throws what CUDA reports, as Error(system). `doing` completes "could not ...".
void check_cuda(cudaError_t status, std::string_view doing);

/// What to do about it.
[[nodiscard]] const char* advice_for(cudaError_t status);

}  // namespace gradwire::trainer
