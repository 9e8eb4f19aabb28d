#pragma once

#include "compress/codec.hpp"

namespace gradwire::compress {

/// The end of a sum that nobody else gets, so that it needs no rounding: result = scale * v, and residual_out
/// zero. `result` may be in.value. With `look`, as lossy codecs do, an element whose v is not finite keeps
/// its residual and makes the answer false; without, as `none` does, the answer is true.
bool finish_sum(const Encode& in, float* result, bool look);

}  // namespace gradwire::compress
