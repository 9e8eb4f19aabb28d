#pragma once

#include <memory>

#include "trainer/gemm.hpp"

struct CUstream_st;  // NOLINT(readability-identifier-naming)

namespace gradwire::trainer {

/// What the trainer uses of cuBLAS, whose library is loaded when a run asks for it: it is larger than all
/// else together, and a program that was built with CUDA starts on hosts that have none. Its interface is
/// declared here (tests compare it with NVIDIA's header), so that building needs no cuBLAS either.
class CublasLibrary {
 public:
  using Handle = void*;

  /// That of the CUDA which this was built with, loaded once and never closed. Throws Error(unsupported) when
  /// it cannot be.
  static const CublasLibrary& get();
  explicit CublasLibrary(const char* file);

  // As cublas_v2.h declares them; statuses, modes and operations are ints.
  int (*create)(Handle* handle) = nullptr;
  int (*destroy)(Handle handle) = nullptr;
  int (*set_stream)(Handle handle, CUstream_st* stream) = nullptr;
  int (*set_math_mode)(Handle handle, int mode) = nullptr;
  int (*sgemm)(Handle handle, int transpose_a, int transpose_b, int m, int n, int k, const float* alpha,
               const float* a, int lda, const float* b, int ldb, const float* beta, float* c,
               int ldc) = nullptr;
  const char* (*status_name)(int status) = nullptr;
};

/// Matrix products of row-major float32 on a stream, in float32: without TF32, which keeps 10 bits, so that a
/// device's losses are the host's.
class Cublas {
 public:
  /// Of the device that is current, here and in gemm(). The library outlives it. Throws Error(system).
  Cublas(const CublasLibrary& library, CUstream_st* stream);

  /// As Compute::gemm(). Throws Error(system).
  void gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, const float* a, const float* b,
            float* c) const;

 private:
  struct Destroy {
    const CublasLibrary* library;
    void operator()(void* handle) const noexcept { (void)library->destroy(handle); }
  };
  const CublasLibrary& library_;
  std::unique_ptr<void, Destroy> handle_;
};

}  // namespace gradwire::trainer
