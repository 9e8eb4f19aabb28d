#pragma once

#include <memory>

#include "compress/cuda/device_codec.hpp"
#include "compress/half_kernels.hpp"
#include "compress/onebit_format.hpp"

namespace gradwire::compress {

// What the .cu files offer, and their stand-in where there is no CUDA. `host` is the same codec on the host.

std::unique_ptr<const DeviceCodec> make_plain_device_codec(std::shared_ptr<const Codec> host);
std::unique_ptr<const DeviceCodec> make_half_device_codec(std::shared_ptr<const Codec> host,
                                                          HalfFormat format);
std::unique_ptr<const DeviceCodec> make_onebit_device_codec(std::shared_ptr<const Codec> host,
                                                            const OnebitOptions& options);

/// What finish_sum_on_device() launches.
void load_finish_sum_kernels();
/// finish_sum_on_device() after its arguments have been checked.
void start_finish_sum(const Encode& in, float* result, bool look, const Launch& launch);

}  // namespace gradwire::compress
