#include <cstddef>

#include "devices.hpp"

// What the trainer uses of cuBLAS, by its definition and on the host: column-major, as the original, and on
// streams of tests/compress/cuda_on_host. The original takes the default stream where it was given none, past
// all that the caller has on its own: here that is refused.

namespace {

constexpr int kSuccess = 0;
constexpr int kNotInitialized = 1;
constexpr int kAllocFailed = 3;
constexpr int kInvalidValue = 7;
/// No device takes more at once.
constexpr int kMostRows = 1 << 20;

struct Handle {
  bool has_stream = false;
  CUstream_st* stream = nullptr;
};

Handle& of(void* handle) { return *static_cast<Handle*>(handle); }

}  // namespace

// NOLINTBEGIN(readability-identifier-naming)
extern "C" {

__attribute__((visibility("default"))) int cublasCreate_v2(void** handle) {
  *handle = new Handle;
  return kSuccess;
}
__attribute__((visibility("default"))) int cublasDestroy_v2(void* handle) {
  delete &of(handle);
  return kSuccess;
}
__attribute__((visibility("default"))) int cublasSetStream_v2(void* handle, CUstream_st* stream) {
  of(handle) = {true, stream};
  return kSuccess;
}
__attribute__((visibility("default"))) const char* cublasGetStatusName(int status) {
  switch (status) {
    case kNotInitialized: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case kAllocFailed: return "CUBLAS_STATUS_ALLOC_FAILED";
    case kInvalidValue: return "CUBLAS_STATUS_INVALID_VALUE";
    default: return "unknown";
  }
}
__attribute__((visibility("default"))) int cublasSetMathMode(void* /*handle*/, int mode) {
  return mode == 0 ? kSuccess : kInvalidValue;
}

__attribute__((visibility("default"))) int cublasSgemm_v2(void* handle, int transpose_a, int transpose_b,
                                                          int m, int n, int k, const float* alpha,
                                                          const float* a, int lda, const float* b, int ldb,
                                                          const float* beta, float* c, int ldc) {
  if (!of(handle).has_stream) return kNotInitialized;
  if (m < 0 || n < 0 || k < 0 || lda < (transpose_a == 0 ? m : k) || ldb < (transpose_b == 0 ? k : n) ||
      ldc < m) {
    return kInvalidValue;
  }
  if (m > kMostRows) return kAllocFailed;
  const auto at = [](int row, int column, int rows) {
    return static_cast<std::size_t>(column) * static_cast<std::size_t>(rows) + static_cast<std::size_t>(row);
  };
  cuda_on_host::put(of(handle).stream, [=, by = *alpha, kept = *beta] {
    for (int row = 0; row < m; ++row) {
      for (int column = 0; column < n; ++column) {
        float sum = 0;
        for (int i = 0; i < k; ++i) {
          sum += a[transpose_a == 0 ? at(row, i, lda) : at(i, row, lda)] *
                 b[transpose_b == 0 ? at(i, column, ldb) : at(column, i, ldb)];
        }
        // beta 0 ignores what was there, a NaN too.
        float& out = c[at(row, column, ldc)];
        out = by * sum + (kept == 0 ? 0 : kept * out);
      }
    }
  });
  return kSuccess;
}
}
// NOLINTEND(readability-identifier-naming)
