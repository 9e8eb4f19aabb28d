#pragma once

#include <cstddef>

#include "gradwire/tensor.hpp"

namespace gradwire::compress {

/// Widens `count` elements of any type to float32, exactly. `in` may have any alignment; the arrays do not
/// overlap.
void to_float32(DType dtype, const void* in, float* out, std::size_t count);

/// Rounds float32 to `dtype`, nearest even; beyond the range infinity, every NaN the type's quiet NaN. For
/// float32 a copy. Returns false when a finite value has become infinity.
bool from_float32(DType dtype, const float* in, void* out, std::size_t count);

}  // namespace gradwire::compress
