#include "compress/simd_targets.hpp"
// Highway compiles this file once per target, each into a namespace of its own.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/onebit_encode_simd.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>

#include "compress/onebit_arithmetic.hpp"
#include "compress/onebit_simd-inl.hpp"
#include "compress/onebit_simd.hpp"

HWY_BEFORE_NAMESPACE();
namespace gradwire::compress::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

bool encode_full_blocks(const OnebitOptions& options, const Encode& in, const Addend& addend,
                        std::byte* payload) {
  Encode full = in;
  full.count -= in.count % options.block;
  return onebit_scalar_kernels().encode(options, full, addend, payload);
}

#else

/// The bits of a mask, the first lane in the lowest.
HWY_INLINE std::uint64_t word_of(Mask mask) {
  std::uint8_t bytes[8];
  hn::StoreMaskBits(Floats(), mask, bytes);
  if constexpr (kLanes <= 8) return bytes[0];
  std::uint16_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

/// Adds the upper half of the lanes to the lower half until one is left.
template <class D>
HWY_INLINE float sum_lanes(D /*d*/, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    return hn::GetLane(v);
  } else {
    const hn::Half<D> half;
    return sum_lanes(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// The same, where the lanes have not been started from +0 as the definition wants it: that shows only where
/// all that was added is -0.
HWY_INLINE float total_of(Vec v) { return sum_lanes(Floats(), v) + 0.0F; }

/// The elements of one block: value (plus what the addend holds) plus residual.
template <bool kAdd, bool kResidual>
class BlockElements {
 public:
  HWY_INLINE BlockElements(OnebitScale mode, const Encode& in, std::size_t first, const Addend& addend,
                           std::size_t offset)
      : value_(in.value + first), residual_(kResidual ? in.residual + first : nullptr) {
    if constexpr (kAdd) {
      const OnebitDecoded added = onebit_load_levels(mode, addend.payload + offset, addend.factor);
      lower_ = hn::Set(Floats(), added.lower);
      upper_ = hn::Set(Floats(), added.upper);
      bits_ = addend.payload + offset + onebit_scale_bytes(mode);
    }
  }

  HWY_INLINE void prefetch(std::size_t i) const {
    prefetch_to_read(value_, i);
    if constexpr (kResidual) prefetch_to_write(residual_, i);
  }

  HWY_INLINE Vec at(std::size_t i) const {
    const Floats d;
    Vec v = hn::LoadU(d, value_ + i);
    if constexpr (kAdd) v = hn::Add(v, hn::IfThenElse(mask_at(bits_, i), upper_, lower_));
    if constexpr (kResidual) return hn::Add(v, hn::LoadU(d, residual_ + i));
    return hn::Add(v, hn::Zero(d));
  }

 private:
  const float* value_;
  const float* residual_;
  Vec lower_ = hn::Zero(Floats());
  Vec upper_ = hn::Zero(Floats());
  const std::byte* bits_ = nullptr;
};

/// The canonical accumulators of one sum, in memory.
class Accumulators {
 public:
  HWY_INLINE explicit Accumulators(std::size_t width) : width_(width) {}

  /// The elements come in order, so that the first ones need nothing to add to: clearing the array would take
  /// a string store, which flushes the buffers of streaming stores.
  HWY_INLINE void add(std::size_t i, Vec v) {
    float* sum = sums_ + i % width_;
    hn::Store(i < width_ ? v : hn::Add(hn::Load(Floats(), sum), v), Floats(), sum);
  }

  HWY_INLINE float total() {
    for (std::size_t half = width_ / 2; half >= kLanes; half /= 2) {
      for (std::size_t j = 0; j < half; j += kLanes) {
        hn::Store(hn::Add(hn::Load(Floats(), sums_ + j), hn::Load(Floats(), sums_ + j + half)), Floats(),
                  sums_ + j);
      }
    }
    return total_of(hn::Load(Floats(), sums_));
  }

 private:
  HWY_ALIGN float sums_[kOnebitAccumulators];
  std::size_t width_;
};

/// Writes the bits of a block of any size and sums it.
template <OnebitScale kMode, class Elements>
OnebitSums sum_any(const Elements& v, std::size_t block, std::byte* bits) {
  const std::size_t width = std::min(block, kOnebitAccumulators);
  const std::size_t run = std::min<std::size_t>(block, 64);
  Accumulators upper(width);
  Accumulators lower(width);
  OnebitSums sums;
  for (std::size_t first = 0; first < block; first += run) {
    std::uint64_t word = 0;
    for (std::size_t j = 0; j < run; j += kLanes) {
      const Vec element = v.at(first + j);
      const Mask mask = hn::Ge(element, hn::Zero(Floats()));
      word |= word_of(mask) << j;
      if constexpr (kMode == OnebitScale::two_level) {
        upper.add(first + j, hn::IfThenElseZero(mask, element));
        lower.add(first + j, hn::IfThenZeroElse(mask, element));
      } else {
        upper.add(first + j, kMode == OnebitScale::l1 ? hn::Abs(element) : hn::Mul(element, element));
      }
    }
    sums.upper_count += hwy::PopCount(word);
    std::memcpy(bits + first / 8, &word, run / 8);
  }
  sums.lower_count = block - sums.upper_count;
  sums.upper = upper.total();
  if constexpr (kMode == OnebitScale::two_level) sums.lower = lower.total();
  return sums;
}

/// The two-level sums of a block of the usual size, with the accumulators in registers: the tree is walked
/// depth first, so that few of them are alive at any time.
template <class Elements>
class UsualSums {
 public:
  HWY_INLINE explicit UsualSums(const Elements& v) : v_(v) {}

  HWY_INLINE OnebitSums sum(std::byte* bits) {
    const Sides total = sides<0, kLanes>();
    OnebitSums sums;
    sums.upper = total_of(total.upper);
    sums.lower = total_of(total.lower);
    for (const std::uint64_t word : words_) sums.upper_count += hwy::PopCount(word);
    sums.lower_count = kUsualBlock - sums.upper_count;
    std::memcpy(bits, words_, sizeof words_);
    return sums;
  }

 private:
  static_assert(kUsualBlock == 2 * kOnebitAccumulators);

  struct Sides {
    Vec upper;
    Vec lower;
  };

  static HWY_INLINE Sides add(const Sides& a, const Sides& b) {
    return {hn::Add(a.upper, b.upper), hn::Add(a.lower, b.lower)};
  }

  /// The accumulators from kFirst on, after they have been halved down to kWidth.
  template <std::size_t kFirst, std::size_t kWidth>
  HWY_INLINE Sides sides() {
    if constexpr (kWidth < kOnebitAccumulators) {
      return add(sides<kFirst, 2 * kWidth>(), sides<kFirst + kWidth, 2 * kWidth>());
    } else {
      return add(split<kFirst>(), split<kFirst + kOnebitAccumulators>());
    }
  }

  template <std::size_t kFirst>
  HWY_INLINE Sides split() {
    const Vec element = v_.at(kFirst);
    const Mask mask = hn::Ge(element, hn::Zero(Floats()));
    words_[kFirst / 64] |= word_of(mask) << (kFirst % 64);
    return {hn::IfThenElseZero(mask, element), hn::IfThenZeroElse(mask, element)};
  }

  const Elements& v_;
  std::uint64_t words_[kUsualBlock / 64] = {};
};

/// kUsual: two-level in blocks of the usual size.
template <bool kUsual, class Elements>
HWY_INLINE OnebitSums sum_block(const OnebitOptions& options, const Elements& v, std::byte* bits) {
  if constexpr (kUsual) {
    return UsualSums<Elements>(v).sum(bits);
  } else {
    switch (options.scale) {
      case OnebitScale::two_level: return sum_any<OnebitScale::two_level>(v, options.block, bits);
      case OnebitScale::l1: return sum_any<OnebitScale::l1>(v, options.block, bits);
      case OnebitScale::l2: break;
    }
    return sum_any<OnebitScale::l2>(v, options.block, bits);
  }
}

enum class Keep : std::uint8_t { nothing, store, stream };

Keep keep_of(const Encode& in) {
  // Below this a shadow most likely stays in the cache until it is read.
  constexpr std::size_t kStreamFrom = 16384;
  if (in.residual_out == nullptr) return Keep::nothing;
  const bool aligned = reinterpret_cast<std::uintptr_t>(in.residual_out) % (kLanes * sizeof(float)) == 0;
  return in.residual_out != in.residual && aligned && in.count >= kStreamFrom ? Keep::stream : Keep::store;
}

/// Asks for the memory of later blocks as it goes: beside the stores, that keeps memory busier than beside
/// the sums.
template <class Elements>
HWY_INLINE void keep_residual(const Elements& v, std::size_t block, const OnebitLevels& levels, Keep keep,
                              float* out) {
  const Floats d;
  const Vec upper = hn::Set(d, levels.upper);
  const Vec lower = hn::Set(d, levels.lower);
  const auto lost = [&](std::size_t i) HWY_ATTR {
    v.prefetch(i);
    const Vec element = v.at(i);
    return hn::Sub(element, hn::IfThenElse(hn::Ge(element, hn::Zero(d)), upper, lower));
  };
  if (keep == Keep::stream) {
    for (std::size_t i = 0; i < block; i += kLanes) hn::Stream(lost(i), d, out + i);
  } else {
    for (std::size_t i = 0; i < block; i += kLanes) hn::StoreU(lost(i), d, out + i);
  }
}

/// What a block that is not finite does to its residual: nothing.
void carry_residual(const Encode& in, std::size_t first, std::size_t count) {
  if (in.residual_out == in.residual) return;
  if (in.residual == nullptr) {
    std::fill_n(in.residual_out + first, count, 0.0F);
  } else {
    std::copy_n(in.residual + first, count, in.residual_out + first);
  }
}

template <bool kUsual, bool kAdd, bool kResidual>
bool encode_blocks(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload) {
  using Elements = BlockElements<kAdd, kResidual>;
  const OnebitScale mode = kUsual ? OnebitScale::two_level : options.scale;
  const std::size_t block = kUsual ? kUsualBlock : options.block;
  const std::size_t bytes = onebit_scale_bytes(mode) + block / 8;
  const std::size_t blocks = in.count / block;
  const float inverse = 1.0F / in.scale;
  const Keep keep = keep_of(in);
  bool finite = true;
  for (std::size_t k = 0; k < blocks; ++k) {
    const std::size_t first = k * block;
    std::byte* to = payload + k * bytes;
    const Elements v(mode, in, first, addend, k * bytes);
    const OnebitSums sums = sum_block<kUsual>(options, v, to + onebit_scale_bytes(mode));
    const OnebitLevels levels = onebit_levels(mode, sums, in.scale, inverse);
    onebit_store_levels(mode, levels, to);
    finite &= levels.finite;
    if (keep == Keep::nothing) {
      for (std::size_t i = 0; i < block; i += kLine) v.prefetch(i);
    } else if (levels.finite) {
      keep_residual(v, block, levels, keep, in.residual_out + first);
    } else {
      carry_residual(in, first, block);
    }
  }
  if (keep == Keep::stream) hwy::FlushStream();
  return finite;
}

template <bool kUsual>
bool encode_any(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload) {
  if (addend.payload == nullptr) {
    return in.residual == nullptr ? encode_blocks<kUsual, false, false>(options, in, addend, payload)
                                  : encode_blocks<kUsual, false, true>(options, in, addend, payload);
  }
  return in.residual == nullptr ? encode_blocks<kUsual, true, false>(options, in, addend, payload)
                                : encode_blocks<kUsual, true, true>(options, in, addend, payload);
}

bool encode_full_blocks(const OnebitOptions& options, const Encode& in, const Addend& addend,
                        std::byte* payload) {
  // Narrow vectors have too few registers for the tree, and would unroll it into too much code.
  if constexpr (kLanes >= 8) {
    if (options.scale == OnebitScale::two_level && options.block == kUsualBlock) {
      return encode_any<true>(options, in, addend, payload);
    }
  }
  return encode_any<false>(options, in, addend, payload);
}

#endif
}  // namespace
}  // namespace gradwire::compress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire::compress {
namespace {
HWY_EXPORT(encode_full_blocks);
}

bool onebit_encode_full_blocks(const OnebitOptions& options, const Encode& in, const Addend& addend,
                               std::byte* payload) {
  return HWY_DYNAMIC_DISPATCH(encode_full_blocks)(options, in, addend, payload);
}

}  // namespace gradwire::compress
#endif  // HWY_ONCE
