#pragma once

#include <memory>

#include "compress/codec.hpp"
#include "compress/plain_kernels.hpp"

namespace gradwire::compress {

/// `none`: the float32 values themselves, bit for bit. Given a residual it sends that along and leaves zeros.
std::unique_ptr<const Codec> make_plain_codec(const PlainKernels& kernels);

}  // namespace gradwire::compress
