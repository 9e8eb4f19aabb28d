#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace gradwire::cli {

/// Pseudo-random gradients between -1 and 1, of magnitudes that differ from place to place. They follow from
/// the numbers given alone, so that any rank can compute every rank's.
void fill_input(std::span<float> out, std::uint64_t seed, int operation, int rank);

/// Tells apart any two different sequences of bits, for all practical purposes.
std::uint64_t hash_bits(std::span<const float> values) noexcept;

}  // namespace gradwire::cli
