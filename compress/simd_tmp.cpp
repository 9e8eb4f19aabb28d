#include "compress/half_kernels.hpp"
#include "compress/onebit_kernels.hpp"
#include "compress/plain_kernels.hpp"
namespace gradwire::compress {
const HalfKernels& half_simd_kernels(HalfFormat format) noexcept { return half_scalar_kernels(format); }
const PlainKernels& plain_simd_kernels() noexcept { return plain_scalar_kernels(); }
}  // namespace gradwire::compress
