#pragma once

#include "compress/onebit_kernels.hpp"

namespace gradwire::compress {

// The loops over full blocks by the best instructions of this processor; a shorter block at the end is left
// alone.

bool onebit_encode_full_blocks(const OnebitOptions& options, const Encode& in, const Addend& addend,
                               std::byte* payload);

void onebit_assign_full_blocks(const OnebitOptions& options, const std::byte* payload, float* out,
                               std::size_t count);

void onebit_add_full_blocks(const OnebitOptions& options, const std::byte* payload, float* sum,
                            std::size_t count, float factor);

}  // namespace gradwire::compress
