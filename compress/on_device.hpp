#pragma once

/// Before an inline function: kernels call it as well. (They may call constexpr functions without.)
#ifdef __CUDACC__
#define GRADWIRE_ON_DEVICE __host__ __device__
#else
#define GRADWIRE_ON_DEVICE
#endif
