#pragma once

#include <cstddef>

#include "base/aligned_vector.hpp"

namespace gradwire::trainer {

/// For what GEMM and codecs stream through.
using FloatArena = base::AlignedVector<float>;

/// `count` rounded up to whole cache lines of floats.
constexpr std::size_t padded(std::size_t count) noexcept { return (count + 15U) / 16U * 16U; }

}  // namespace gradwire::trainer
