#include "cli/bench_inputs.hpp"

#include <array>
#include <bit>

namespace gradwire::cli {
namespace {

/// A bijection of 64-bit numbers whose outputs look random for inputs that count up (SplitMix64's finalizer).
std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

}  // namespace

void fill_input(std::span<float> out, std::uint64_t seed, int operation, int rank) {
  constexpr std::array kScales{1.0F, 0.5F, 0.125F, 0.01F};
  const std::uint64_t stream =
      mix(mix(mix(seed) + static_cast<std::uint64_t>(operation)) + static_cast<std::uint64_t>(rank));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint64_t bits = mix(stream + i * 0x9e3779b97f4a7c15U);
    const auto unit = static_cast<float>(static_cast<std::int64_t>(bits) >> 40U) * 0x1p-23F;
    out[i] = unit * kScales[(bits >> 8U) & 3U];
  }
}

std::uint64_t hash_bits(std::span<const float> values) noexcept {
  // Four lanes hide the multiplier's latency.
  std::array<std::uint64_t, 4> lanes{1, 2, 3, 4};
  for (std::size_t i = 0; i < values.size(); ++i) {
    auto& lane = lanes[i & 3U];
    lane = std::rotl((lane ^ std::bit_cast<std::uint32_t>(values[i])) * 0x9e3779b97f4a7c15U, 29);
  }
  std::uint64_t hash = values.size();
  for (const std::uint64_t lane : lanes) hash = mix(hash ^ lane);
  return hash;
}

}  // namespace gradwire::cli
