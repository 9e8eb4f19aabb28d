#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace gradwire::compress {

// Stores of several elements in one access, at multiples of its size. As PTX, since the compiler sometimes
// takes a vector that is assigned apart again, and the intrinsics order what needs no order. Without nvcc
// they are for the CUDA of the tests, on the host.

__device__ __forceinline__ void store_wide(float* to, float4 quad) {
#ifdef __CUDACC__
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(to), "f"(quad.x), "f"(quad.y), "f"(quad.z), "f"(quad.w)
               : "memory");
#else
  *reinterpret_cast<float4*>(to) = quad;
#endif
}

__device__ __forceinline__ void store_wide(std::byte* to, uint2 words) {
#ifdef __CUDACC__
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" : : "l"(to), "r"(words.x), "r"(words.y) : "memory");
#else
  *reinterpret_cast<uint2*>(to) = words;
#endif
}

}  // namespace gradwire::compress
