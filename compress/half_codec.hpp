#pragma once

#include <memory>

#include "compress/codec.hpp"
#include "compress/half_kernels.hpp"

namespace gradwire::compress {

/// Two bytes per element, little-endian: IEEE binary16 or bfloat16, nearest even, finite values saturated.
std::unique_ptr<const Codec> make_half_codec(HalfFormat format, const HalfKernels& kernels);

}  // namespace gradwire::compress
