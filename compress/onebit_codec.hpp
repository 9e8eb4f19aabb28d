#pragma once

#include <memory>

#include "compress/codec.hpp"
#include "compress/onebit_kernels.hpp"

namespace gradwire::compress {

/// One bit per element and one or two scales per block (Seide et al., Interspeech 2014, with blocks instead
/// of matrix columns). docs/codecs.md defines the arithmetic and the payload.
std::unique_ptr<const Codec> make_onebit_codec(const OnebitOptions& options, const OnebitKernels& kernels);

/// "two-level", "l1", "l2".
std::string_view to_string(OnebitScale scale) noexcept;

}  // namespace gradwire::compress
