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

/// Sums one term per element of a block in the canonical order: into accumulators by the element's index,
/// then the upper half of them onto the lower half until one is left.
class CanonicalSum {
 public:
  explicit CanonicalSum(std::size_t block) noexcept : width_(std::min(block, kOnebitAccumulators)) {}

  void add(std::size_t i, float term) noexcept { accumulators_[i & (width_ - 1)] += term; }

  float total() noexcept {
    for (std::size_t half = width_ / 2; half > 0; half /= 2) {
      for (std::size_t j = 0; j < half; ++j) accumulators_[j] += accumulators_[j + half];
    }
    return accumulators_[0];
  }

 private:
  std::array<float, kOnebitAccumulators> accumulators_{};
  std::size_t width_;  ///< a power of two
};

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

/// Writes the bits and sums the block.
OnebitSums sum_block(const OnebitOptions& options, const BlockElements& elements, std::size_t n,
                     std::byte* bits) noexcept {
  OnebitSums sums;
  CanonicalSum upper(options.block);
  CanonicalSum lower(options.block);
  std::fill_n(bits, (n + 7) / 8, std::byte{0});
  for (std::size_t i = 0; i < n; ++i) {
    const float v = elements(i);
    const bool bit = v >= 0;
    if (bit) bits[i / 8] |= std::byte{1} << (i % 8);
    ++(bit ? sums.upper_count : sums.lower_count);
    switch (options.scale) {
      case OnebitScale::two_level:
        upper.add(i, bit ? v : 0.0F);
        lower.add(i, bit ? 0.0F : v);
        break;
      case OnebitScale::l1: upper.add(i, std::fabs(v)); break;
      case OnebitScale::l2: upper.add(i, v * v); break;
    }
  }
  sums.upper = upper.total();
  sums.lower = lower.total();
  return sums;
}

bool encode_block(const OnebitOptions& options, const Encode& in, std::size_t first, std::size_t n,
                  const BlockElements& elements, std::byte* payload) noexcept {
  std::byte* bits = payload + onebit_scale_bytes(options.scale);
  const OnebitSums sums = sum_block(options, elements, n, bits);
  const OnebitLevels levels = onebit_levels(options.scale, sums, in.scale, 1.0F / in.scale);
  onebit_store_levels(options.scale, levels, payload);
  if (in.residual_out == nullptr) return levels.finite;
  for (std::size_t i = 0; i < n; ++i) {
    const float v = elements(i);
    const float decoded = v >= 0 ? levels.upper : levels.lower;
    in.residual_out[first + i] = levels.finite ? v - decoded : elements.residual(i);
  }
  return levels.finite;
}

bool encode(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload) {
  bool finite = true;
  for (std::size_t first = 0; first < in.count; first += options.block) {
    const std::size_t n = std::min(options.block, in.count - first);
    const std::size_t offset = first / options.block * onebit_block_bytes(options);
    const BlockElements elements(options, in, first, addend, offset);
    finite &= encode_block(options, in, first, n, elements, payload + offset);
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
