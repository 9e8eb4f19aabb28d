#include <algorithm>
#include <array>
#include <cmath>

#include "compress/onebit_arithmetic.hpp"
#include "compress/onebit_kernels.hpp"

namespace gradwire::compress {
namespace {

bool bit_of(const std::byte* bits, std::size_t i) noexcept {
  return (std::to_integer<unsigned>(bits[i / 8]) >> (i % 8) & 1U) != 0;
}

/// Sums term(0..n-1) in the canonical order: into accumulators by index, then the upper half of them onto the
/// lower half until one is left.
template <class Term>
float canonical_sum(std::size_t n, std::size_t block, Term term) noexcept {
  std::array<float, kOnebitAccumulators> accumulators{};
  const std::size_t width = std::min(block, kOnebitAccumulators);
  for (std::size_t i = 0; i < n; ++i) accumulators[i % width] += term(i);
  for (std::size_t half = width / 2; half > 0; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) accumulators[j] += accumulators[j + half];
  }
  return accumulators[0];
}

/// The elements of one block: value (plus what the addend holds) plus residual.
class BlockElements {
 public:
  BlockElements(const OnebitOptions& options, const Encode& in, std::size_t first, const Addend& addend,
                std::size_t offset) noexcept
      : value_(in.value + first), residual_(in.residual == nullptr ? nullptr : in.residual + first) {
    if (addend.payload != nullptr) {
      added_ = onebit_load_levels(options.scale, addend.payload + offset, addend.factor);
      bits_ = addend.payload + offset + onebit_scale_bytes(options.scale);
    }
  }

  float operator()(std::size_t i) const noexcept {
    float v = value_[i];
    if (bits_ != nullptr) v += bit_of(bits_, i) ? added_.upper : added_.lower;
    return v + residual(i);
  }
  float residual(std::size_t i) const noexcept { return residual_ == nullptr ? 0.0F : residual_[i]; }

 private:
  const float* value_;
  const float* residual_;
  OnebitDecoded added_;
  const std::byte* bits_ = nullptr;
};

OnebitSums block_sums(const OnebitOptions& options, const BlockElements& v, std::size_t n) noexcept {
  OnebitSums sums;
  for (std::size_t i = 0; i < n; ++i) ++(v(i) >= 0 ? sums.upper_count : sums.lower_count);
  switch (options.scale) {
    case OnebitScale::two_level:
      sums.upper = canonical_sum(n, options.block, [&](std::size_t i) { return v(i) >= 0 ? v(i) : 0.0F; });
      sums.lower = canonical_sum(n, options.block, [&](std::size_t i) { return v(i) >= 0 ? 0.0F : v(i); });
      break;
    case OnebitScale::l1:
      sums.upper = canonical_sum(n, options.block, [&](std::size_t i) { return std::fabs(v(i)); });
      break;
    case OnebitScale::l2:
      sums.upper = canonical_sum(n, options.block, [&](std::size_t i) { return v(i) * v(i); });
      break;
  }
  return sums;
}

bool encode_block(const OnebitOptions& options, const Encode& in, std::size_t first, std::size_t n,
                  const BlockElements& v, std::byte* payload) noexcept {
  const OnebitLevels levels =
      onebit_levels(options.scale, block_sums(options, v, n), in.scale, 1.0F / in.scale);
  onebit_store_levels(options.scale, levels, payload);
  std::byte* bits = payload + onebit_scale_bytes(options.scale);
  std::fill_n(bits, (n + 7) / 8, std::byte{0});
  for (std::size_t i = 0; i < n; ++i) {
    const float element = v(i);
    const bool bit = element >= 0;
    if (bit) bits[i / 8] |= std::byte{1} << (i % 8);
    if (in.residual_out == nullptr) continue;
    in.residual_out[first + i] =
        levels.finite ? element - (bit ? levels.upper : levels.lower) : v.residual(i);
  }
  return levels.finite;
}

bool encode(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload) {
  bool finite = true;
  for (std::size_t first = 0; first < in.count; first += options.block) {
    const std::size_t n = std::min(options.block, in.count - first);
    const std::size_t offset = first / options.block * onebit_block_bytes(options);
    const BlockElements v(options, in, first, addend, offset);
    finite &= encode_block(options, in, first, n, v, payload + offset);
  }
  return finite;
}

template <class Use>
void decode(const OnebitOptions& options, const std::byte* payload, std::size_t count, float factor,
            Use use) {
  for (std::size_t first = 0; first < count; first += options.block) {
    const std::size_t n = std::min(options.block, count - first);
    const std::byte* block = payload + first / options.block * onebit_block_bytes(options);
    const OnebitDecoded levels = onebit_load_levels(options.scale, block, factor);
    const std::byte* bits = block + onebit_scale_bytes(options.scale);
    for (std::size_t i = 0; i < n; ++i) use(first + i, bit_of(bits, i) ? levels.upper : levels.lower);
  }
}

void decode_assign(const OnebitOptions& options, const std::byte* payload, float* out, std::size_t count) {
  decode(options, payload, count, 1.0F, [out](std::size_t i, float decoded) { out[i] = decoded; });
}

void decode_add(const OnebitOptions& options, const std::byte* payload, float* sum, std::size_t count,
                float factor) {
  decode(options, payload, count, factor, [sum](std::size_t i, float decoded) { sum[i] += decoded; });
}

}  // namespace

const OnebitKernels& onebit_scalar_kernels() noexcept {
  static constexpr OnebitKernels kKernels{encode, decode_assign, decode_add};
  return kKernels;
}

}  // namespace gradwire::compress
