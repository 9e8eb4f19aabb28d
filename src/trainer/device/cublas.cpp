#include "trainer/device/cublas.hpp"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

#include "gradwire/error.hpp"
#include "trainer/device/check_cuda.hpp"

namespace gradwire::trainer {
namespace {

constexpr int kSuccess = 0;
constexpr int kNotInitialized = 1;
constexpr int kAllocFailed = 3;
constexpr int kArchMismatch = 8;
constexpr int kDefaultMath = 0;

[[noreturn]] void cannot_load(const char* why) {
  throw Error(ErrorCode::unsupported, fmt::format("cuBLAS cannot be loaded: {}", why),
              fmt::format("install the cuBLAS of CUDA {}, put its folder into LD_LIBRARY_PATH, or use "
                          "--device cpu",
                          CUDART_VERSION / 1000));
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  if (function == nullptr) cannot_load(fmt::format("it lacks {}", name).c_str());
}

/// What is to be done is the same as where CUDA itself says so.
const char* advice_for_status(int status) {
  switch (status) {
    case kNotInitialized:  // what making a handle on a full device is answered with
    case kAllocFailed: return advice_for(cudaErrorMemoryAllocation);
    case kArchMismatch: return advice_for(cudaErrorNoKernelImageForDevice);
    default: return advice_for(cudaErrorLaunchFailure);
  }
}

void check(const CublasLibrary& library, int status, const std::string& doing) {
  if (status == kSuccess) return;
  throw Error(ErrorCode::system, fmt::format("cuBLAS could not {}: {}", doing, library.status_name(status)),
              advice_for_status(status));
}

}  // namespace

const CublasLibrary& CublasLibrary::get() {
  static const CublasLibrary library(fmt::format("libcublas.so.{}", CUDART_VERSION / 1000).c_str());
  return library;
}

CublasLibrary::CublasLibrary(const char* file) {
  void* const library = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const why = ::dlerror();
    cannot_load(why != nullptr ? why : file);
  }
  find(library, "cublasCreate_v2", create);
  find(library, "cublasDestroy_v2", destroy);
  find(library, "cublasSetStream_v2", set_stream);
  find(library, "cublasSetMathMode", set_math_mode);
  find(library, "cublasSgemm_v2", sgemm);
  find(library, "cublasGetStatusName", status_name);
}

Cublas::Cublas(const CublasLibrary& library, CUstream_st* stream)
    : library_(library), handle_(nullptr, Destroy{&library}) {
  void* handle = nullptr;
  check(library, library.create(&handle), "begin");
  handle_.reset(handle);
  check(library, library.set_stream(handle, stream), "take a stream");
  check(library, library.set_math_mode(handle, kDefaultMath), "take a precision");
}

void Cublas::gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, const float* a,
                  const float* b, float* c) const {
  if (m == 0 || n == 0) return;
  const int columns_a = transpose_a == Transpose::no ? k : m;
  const int columns_b = transpose_b == Transpose::no ? n : k;
  const auto operation = [](Transpose transpose) { return transpose == Transpose::no ? 0 : 1; };
  const float one = 1.0F;
  const float zero = 0.0F;
  // What is row-major here is transposed to cuBLAS: it makes C' = B' A'.
  const int status = library_.sgemm(handle_.get(), operation(transpose_b), operation(transpose_a), n, m, k,
                                    &one, b, columns_b, a, columns_a, &zero, c, n);
  // Of what goes well nothing is written down: this is done several times a step.
  if (status != kSuccess) check(library_, status, fmt::format("start a {}x{}x{} matrix product", m, n, k));
}

}  // namespace gradwire::trainer
