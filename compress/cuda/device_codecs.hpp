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

/// Throws Error(invalid_argument) for a stream of another device, and where a kernel that looks has no flag.
void check_launch(bool looks, const Launch& launch);

/// What finish_sum_on_device() launches.
void load_finish_sum_kernels();
/// finish_sum_on_device() after its arguments have been checked.
void start_finish_sum(const Encode& in, float* result, bool look, const Launch& launch);

/// What device_convert.hpp launches, of 16-bit types and after the arguments have been checked.
void load_half_conversions();
void start_widening(HalfFormat format, const std::byte* in, float* out, std::size_t count, Stream stream);
void start_narrowing(HalfFormat format, const float* in, std::byte* out, std::size_t count,
                     const Launch& launch);

}  // namespace gradwire::compress
