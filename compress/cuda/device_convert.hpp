#pragma once

#include <cstddef>

#include "compress/cuda/device_codec.hpp"
#include "gradwire/tensor.hpp"

namespace gradwire::compress {

// convert.hpp on the device: the same bits. All pointers are to memory of the current device, `count`
// elements of any alignment; what DeviceCodec says of streams, errors and loading holds here too.

/// Loads the kernels of both functions onto the current device, as DeviceCodec::load() does those of a codec.
void load_conversion_kernels();

/// Widens `count` elements to float32, exactly. The arrays do not overlap.
void to_float32_on_device(DType dtype, const void* in, float* out, std::size_t count, Stream stream);

/// Rounds float32 to `dtype`, nearest even; beyond the range infinity. Launch::non_finite, which is needed
/// unless that is float32, becomes 1 when a finite value has become infinity.
void from_float32_on_device(DType dtype, const float* in, void* out, std::size_t count, const Launch& launch);

}  // namespace gradwire::compress
