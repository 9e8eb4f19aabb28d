#include "trainer/gemm.hpp"

#include <dnnl.h>
#include <fmt/format.h>

#include <algorithm>

#include "gradwire/error.hpp"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace gradwire::trainer {

void gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, const float* a, const float* b,
          float* c) {
  if (m == 0 || n == 0) return;
  const int columns_a = transpose_a == Transpose::no ? k : m;
  const int columns_b = transpose_b == Transpose::no ? n : k;
  const dnnl_status_t status = dnnl_sgemm(static_cast<char>(transpose_a), static_cast<char>(transpose_b), m,
                                          n, k, 1.0F, a, columns_a, b, columns_b, 0.0F, c, n);
  if (status != dnnl_success) {
    throw Error(ErrorCode::system,
                fmt::format("oneDNN refused a {}x{}x{} matrix product with status {}", m, n, k,
                            static_cast<int>(status)),
                "free some memory and try again");
  }
}

#if defined(_OPENMP)

void set_gemm_threads(int threads) { omp_set_num_threads(std::max(threads, 1)); }

int default_gemm_threads(int ranks) {
  return std::clamp(omp_get_num_procs() / std::max(ranks, 1), 1, omp_get_max_threads());
}

#else

void set_gemm_threads(int /*threads*/) {}

int default_gemm_threads(int /*ranks*/) { return 1; }

#endif

}  // namespace gradwire::trainer
