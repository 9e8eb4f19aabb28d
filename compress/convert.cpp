#include "compress/convert.hpp"

#include <cstring>

#include "compress/half_kernels.hpp"

namespace gradwire::compress {
namespace {

const HalfKernels& kernels_of(DType dtype) noexcept {
  return half_simd_kernels(dtype == DType::float16 ? HalfFormat::fp16 : HalfFormat::bf16);
}

}  // namespace

void to_float32(DType dtype, const void* in, float* out, std::size_t count) {
  if (dtype != DType::float32) {
    kernels_of(dtype).decode_assign(static_cast<const std::byte*>(in), out, count);
  } else if (count > 0) {
    std::memcpy(out, in, count * sizeof(float));
  }
}

bool from_float32(DType dtype, const float* in, void* out, std::size_t count) {
  if (dtype != DType::float32) return kernels_of(dtype).narrow(in, static_cast<std::byte*>(out), count);
  if (count > 0) std::memcpy(out, in, count * sizeof(float));
  return true;
}

}  // namespace gradwire::compress
