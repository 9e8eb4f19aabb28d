#include <cstddef>

// What the trainer uses of cuBLAS, by its definition and on the host: column-major, as the original.

extern "C" {

__attribute__((visibility("default"))) int cublasCreate_v2(void** handle) {
  static int one = 0;
  *handle = &one;
  return 0;
}
__attribute__((visibility("default"))) int cublasDestroy_v2(void* /*handle*/) { return 0; }
__attribute__((visibility("default"))) int cublasSetStream_v2(void* /*handle*/, void* /*stream*/) {
  return 0;
}
__attribute__((visibility("default"))) int cublasSetMathMode(void* /*handle*/, int mode) {
  return mode == 0 ? 0 : 7;
}

__attribute__((visibility("default"))) int cublasSgemm_v2(void* /*handle*/, int transpose_a, int transpose_b,
                                                          int m, int n, int k, const float* alpha,
                                                          const float* a, int lda, const float* b, int ldb,
                                                          const float* beta, float* c, int ldc) {
  constexpr int kInvalidValue = 7;
  if (m < 0 || n < 0 || k < 0 || lda < (transpose_a == 0 ? m : k) || ldb < (transpose_b == 0 ? k : n) ||
      ldc < m) {
    return kInvalidValue;
  }
  const auto at = [](int row, int column, int rows) {
    return static_cast<std::size_t>(column) * static_cast<std::size_t>(rows) + static_cast<std::size_t>(row);
  };
  for (int row = 0; row < m; ++row) {
    for (int column = 0; column < n; ++column) {
      float sum = 0;
      for (int i = 0; i < k; ++i) {
        sum += a[transpose_a == 0 ? at(row, i, lda) : at(i, row, lda)] *
               b[transpose_b == 0 ? at(i, column, ldb) : at(column, i, ldb)];
      }
      // beta 0 ignores what was there, a NaN too.
      float& out = c[at(row, column, ldc)];
      out = *alpha * sum + (*beta == 0 ? 0 : *beta * out);
    }
  }
  return 0;
}
}
