#pragma once

namespace gradwire::trainer {

enum class Transpose : char { no = 'N', yes = 'T' };

/// C (m x n) = op(A) (m x k) times op(B) (k x n), all row-major and dense. Deterministic for a fixed shape,
/// machine and number of threads. Throws Error(system) when oneDNN refuses.
void gemm(Transpose transpose_a, Transpose transpose_b, int m, int n, int k, const float* a, const float* b,
          float* c);

/// How many threads the calling thread's next gemm may use.
void set_gemm_threads(int threads);
/// What OMP_NUM_THREADS or the machine allow, shared among `ranks`; at least 1.
int default_gemm_threads(int ranks);

}  // namespace gradwire::trainer
