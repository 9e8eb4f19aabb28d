#include "compress/simd_targets.hpp"
// Highway compiles this file once per target, each into a namespace of its own.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/onebit_simd.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "compress/encode_rest.hpp"
#include "compress/onebit_arithmetic.hpp"
#include "compress/onebit_kernels.hpp"

HWY_BEFORE_NAMESPACE();
namespace gradwire::compress::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

bool EncodeFullBlocks(const OnebitOptions& options, const Encode& in, const Addend& addend,
                      std::byte* payload) {
  Encode full = in;
  full.count -= in.count % options.block;
  return onebit_scalar_kernels().encode(options, full, addend, payload);
}

void DecodeAssignFullBlocks(const OnebitOptions& options, const std::byte* payload, float* out,
                            std::size_t count) {
  onebit_scalar_kernels().decode_assign(options, payload, out, count - count % options.block);
}

void DecodeAddFullBlocks(const OnebitOptions& options, const std::byte* payload, float* sum,
                         std::size_t count, float factor) {
  onebit_scalar_kernels().decode_add(options, payload, sum, count - count % options.block, factor);
}

#else

namespace hn = hwy::HWY_NAMESPACE;

// A block is at least 16 elements, and a multiple of that.
#if HWY_HAVE_SCALABLE
using Floats = hn::FixedTag<float, 4>;
#else
using Floats = hn::CappedTag<float, 16>;
#endif
using Vec = hn::Vec<Floats>;
using Mask = hn::Mask<Floats>;

constexpr std::size_t kPrefetchAhead = 1024;  ///< elements
constexpr std::size_t kLine = 64 / sizeof(float);
/// Below this a shadow most likely stays in the cache until it is read.
constexpr std::size_t kStreamFrom = 16384;

/// The bits of a mask, the first lane in the lowest.
HWY_INLINE std::uint64_t word_of(Mask mask) {
  std::uint8_t bytes[8];
  if (hn::StoreMaskBits(Floats(), mask, bytes) == 1) return bytes[0];
  std::uint16_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

/// The mask of the lanes from element i on, where i is a multiple of the lanes.
HWY_INLINE Mask mask_at(const std::byte* bits, std::size_t i) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  std::uint8_t bytes[8] = {};
  if (lanes > 8) {
    std::memcpy(bytes, bits + i / 8, 2);
  } else {
    bytes[0] = static_cast<std::uint8_t>(std::to_integer<unsigned>(bits[i / 8]) >> (i % 8));
  }
  return hn::LoadMaskBits(d, bytes);
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

/// The canonical accumulators of one sum, in memory.
class Accumulators {
 public:
  HWY_INLINE explicit Accumulators(std::size_t width) { std::fill_n(sums_, width, 0.0F); }
  HWY_INLINE void add(std::size_t i, Vec v) {
    hn::Store(hn::Add(hn::Load(Floats(), sums_ + i), v), Floats(), sums_ + i);
  }

  HWY_INLINE float total(std::size_t width) {
    const Floats d;
    const std::size_t lanes = hn::Lanes(d);
    for (std::size_t half = width / 2; half >= lanes; half /= 2) {
      for (std::size_t j = 0; j < half; j += lanes) add(j, hn::Load(d, sums_ + j + half));
    }
    return sum_lanes(d, hn::Load(d, sums_));
  }

 private:
  HWY_ALIGN float sums_[kOnebitAccumulators];
};

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

  HWY_INLINE Vec at(std::size_t i) const {
    Vec v = hn::LoadU(Floats(), value_ + i);
    if constexpr (kAdd) v = hn::Add(v, hn::IfThenElse(mask_at(bits_, i), upper_, lower_));
    return hn::Add(v, residual(i));
  }
  HWY_INLINE Vec residual(std::size_t i) const {
    if constexpr (!kResidual) return hn::Zero(Floats());
    return hn::LoadU(Floats(), residual_ + i);
  }

 private:
  const float* value_;
  const float* residual_;
  Vec lower_ = hn::Zero(Floats());
  Vec upper_ = hn::Zero(Floats());
  const std::byte* bits_ = nullptr;
};

/// Writes the bits and sums the block.
template <OnebitScale kMode, class Elements>
HWY_INLINE OnebitSums sum_block(const Elements& v, std::size_t block, std::byte* bits) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t width = std::min(block, kOnebitAccumulators);
  const std::size_t run = std::min<std::size_t>(block, 64);
  Accumulators upper(width);
  Accumulators lower(width);
  OnebitSums sums;
  for (std::size_t row = 0; row < block; row += run) {
    std::uint64_t word = 0;
    for (std::size_t j = 0; j < run; j += lanes) {
      const Vec element = v.at(row + j);
      const Mask mask = hn::Ge(element, hn::Zero(d));
      word |= word_of(mask) << j;
      const std::size_t slot = (row + j) % width;
      if constexpr (kMode == OnebitScale::two_level) {
        upper.add(slot, hn::IfThenElseZero(mask, element));
        lower.add(slot, hn::IfThenZeroElse(mask, element));
      } else {
        upper.add(slot, kMode == OnebitScale::l1 ? hn::Abs(element) : hn::Mul(element, element));
      }
    }
    sums.upper_count += hwy::PopCount(word);
    std::memcpy(bits + row / 8, &word, run / 8);
  }
  sums.lower_count = block - sums.upper_count;
  sums.upper = upper.total(width);
  if constexpr (kMode == OnebitScale::two_level) sums.lower = lower.total(width);
  return sums;
}

/// The two-level sums of a block of fixed size, with the accumulators in registers: the tree is walked depth
/// first, so that few of them are alive at any time.
template <std::size_t kBlock, class Elements>
class RegisterSums {
 public:
  HWY_INLINE explicit RegisterSums(const Elements& v) : v_(v) {}

  HWY_INLINE OnebitSums sum(std::byte* bits) {
    const Sides total = sides<0, kLanes>();
    OnebitSums sums;
    // The definition starts from +0, which shows only where all that was added is -0.
    sums.upper = sum_lanes(Floats(), total.upper) + 0.0F;
    sums.lower = sum_lanes(Floats(), total.lower) + 0.0F;
    for (std::size_t i = 0; i < kBlock / 64; ++i) sums.upper_count += hwy::PopCount(words_[i]);
    sums.lower_count = kBlock - sums.upper_count;
    std::memcpy(bits, words_, kBlock / 8);
    return sums;
  }

 private:
  static constexpr std::size_t kLanes = hn::MaxLanes(Floats());

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
    } else if constexpr (kFirst + kOnebitAccumulators < kBlock) {
      return add(split<kFirst>(), split<kFirst + kOnebitAccumulators>());
    } else {
      return split<kFirst>();
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
  std::uint64_t words_[kBlock / 64] = {};
};

enum class Keep : std::uint8_t { nothing, store, stream };

template <class Elements>
HWY_INLINE void keep_residual(const Elements& v, std::size_t block, const OnebitLevels& levels, Keep keep,
                              float* out) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  if (keep == Keep::nothing) return;
  if (!levels.finite) {
    for (std::size_t i = 0; i < block; i += lanes) hn::StoreU(v.residual(i), d, out + i);
    return;
  }
  const Vec upper = hn::Set(d, levels.upper);
  const Vec lower = hn::Set(d, levels.lower);
  const auto lost = [&](std::size_t i) HWY_ATTR {
    const Vec element = v.at(i);
    return hn::Sub(element, hn::IfThenElse(hn::Ge(element, hn::Zero(d)), upper, lower));
  };
  if (keep == Keep::stream) {
    for (std::size_t i = 0; i < block; i += lanes) hn::Stream(lost(i), d, out + i);
  } else {
    for (std::size_t i = 0; i < block; i += lanes) hn::StoreU(lost(i), d, out + i);
  }
}

HWY_INLINE void prefetch(const float* from, std::size_t count) {
  for (std::size_t i = 0; i < count; i += kLine) hwy::Prefetch(from + i);
}

Keep keep_of(const Encode& in) {
  if (in.residual_out == nullptr) return Keep::nothing;
  const bool aligned =
      reinterpret_cast<std::uintptr_t>(in.residual_out) % (hn::Lanes(Floats()) * sizeof(float)) == 0;
  return in.residual_out != in.residual && aligned && in.count >= kStreamFrom ? Keep::stream : Keep::store;
}

/// Encodes the full blocks. kBlock is the block size, or 0 for any.
template <OnebitScale kMode, std::size_t kBlock, bool kAdd, bool kResidual>
bool encode_blocks(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload) {
  using Elements = BlockElements<kAdd, kResidual>;
  const std::size_t block = kBlock == 0 ? options.block : kBlock;
  const std::size_t bytes = onebit_scale_bytes(kMode) + block / 8;
  const std::size_t blocks = in.count / block;
  const float inverse = 1.0F / in.scale;
  const Keep keep = keep_of(in);
  bool finite = true;
  OnebitLevels previous;
  // Residuals lag behind by a block, so that the division and what hangs on it overlap the next block's sums.
  for (std::size_t k = 0; k <= blocks; ++k) {
    OnebitLevels levels;
    if (k < blocks) {
      prefetch(in.value + k * block + kPrefetchAhead, block);
      if constexpr (kResidual) prefetch(in.residual + k * block + kPrefetchAhead, block);
      const Elements v(kMode, in, k * block, addend, k * bytes);
      std::byte* bits = payload + k * bytes + onebit_scale_bytes(kMode);
      OnebitSums sums;
      if constexpr (kBlock != 0) {
        sums = RegisterSums<kBlock, Elements>(v).sum(bits);
      } else {
        sums = sum_block<kMode>(v, block, bits);
      }
      levels = onebit_levels(kMode, sums, in.scale, inverse);
      onebit_store_levels(kMode, levels, payload + k * bytes);
      finite &= levels.finite;
    }
    if (k > 0 && keep != Keep::nothing) {
      const Elements v(kMode, in, (k - 1) * block, addend, (k - 1) * bytes);
      keep_residual(v, block, previous, keep, in.residual_out + (k - 1) * block);
    }
    previous = levels;
  }
  if (keep == Keep::stream) hwy::FlushStream();
  return finite;
}

template <bool kAdd, bool kResidual>
bool encode_mode(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload) {
  constexpr std::size_t kDefault = OnebitOptions().block;
  switch (options.scale) {
    case OnebitScale::two_level:
      return options.block == kDefault
                 ? encode_blocks<OnebitScale::two_level, kDefault, kAdd, kResidual>(options, in, addend,
                                                                                    payload)
                 : encode_blocks<OnebitScale::two_level, 0, kAdd, kResidual>(options, in, addend, payload);
    case OnebitScale::l1:
      return encode_blocks<OnebitScale::l1, 0, kAdd, kResidual>(options, in, addend, payload);
    case OnebitScale::l2:
      return encode_blocks<OnebitScale::l2, 0, kAdd, kResidual>(options, in, addend, payload);
  }
  return false;
}

template <bool kAdd>
bool encode_any(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload) {
  return in.residual == nullptr ? encode_mode<kAdd, false>(options, in, addend, payload)
                                : encode_mode<kAdd, true>(options, in, addend, payload);
}

bool EncodeFullBlocks(const OnebitOptions& options, const Encode& in, const Addend& addend,
                      std::byte* payload) {
  return addend.payload == nullptr ? encode_any<false>(options, in, addend, payload)
                                   : encode_any<true>(options, in, addend, payload);
}

template <bool kAdd, std::size_t kBlock>
void decode_blocks(const OnebitOptions& options, const std::byte* payload, float* out, std::size_t count,
                   float factor) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t block = kBlock == 0 ? options.block : kBlock;
  const std::size_t bytes = onebit_scale_bytes(options.scale) + block / 8;
  for (std::size_t first = 0; count - first >= block; first += block, payload += bytes) {
    const OnebitDecoded levels = onebit_load_levels(options.scale, payload, factor);
    const Vec upper = hn::Set(d, levels.upper);
    const Vec lower = hn::Set(d, levels.lower);
    const std::byte* bits = payload + onebit_scale_bytes(options.scale);
    float* to = out + first;
    if constexpr (kAdd) prefetch(to + kPrefetchAhead, block);
    for (std::size_t i = 0; i < block; i += lanes) {
      Vec v = hn::IfThenElse(mask_at(bits, i), upper, lower);
      if constexpr (kAdd) v = hn::Add(hn::LoadU(d, to + i), v);
      hn::StoreU(v, d, to + i);
    }
  }
}

template <bool kAdd>
void decode_any(const OnebitOptions& options, const std::byte* payload, float* out, std::size_t count,
                float factor) {
  if (options.block == OnebitOptions().block) {
    decode_blocks<kAdd, OnebitOptions().block>(options, payload, out, count, factor);
  } else {
    decode_blocks<kAdd, 0>(options, payload, out, count, factor);
  }
}

void DecodeAssignFullBlocks(const OnebitOptions& options, const std::byte* payload, float* out,
                            std::size_t count) {
  decode_any<false>(options, payload, out, count, 1.0F);
}

void DecodeAddFullBlocks(const OnebitOptions& options, const std::byte* payload, float* sum,
                         std::size_t count, float factor) {
  decode_any<true>(options, payload, sum, count, factor);
}

#endif
}  // namespace
}  // namespace gradwire::compress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire::compress {
namespace {

HWY_EXPORT(EncodeFullBlocks);
HWY_EXPORT(DecodeAssignFullBlocks);
HWY_EXPORT(DecodeAddFullBlocks);

/// Where the shorter block at the end begins; the scalar version does that one.
struct Tail {
  Tail(const OnebitOptions& options, std::size_t count)
      : first(count / options.block * options.block),
        offset(count / options.block * onebit_block_bytes(options)) {}
  std::size_t first;
  std::size_t offset;
};

bool encode(const OnebitOptions& options, const Encode& in, const Addend& addend, std::byte* payload) {
  bool finite = HWY_DYNAMIC_DISPATCH(EncodeFullBlocks)(options, in, addend, payload);
  const Tail tail(options, in.count);
  finite &= onebit_scalar_kernels().encode(options, from(in, tail.first), from(addend, tail.offset),
                                           payload + tail.offset);
  return finite;
}

void decode_assign(const OnebitOptions& options, const std::byte* payload, float* out, std::size_t count) {
  HWY_DYNAMIC_DISPATCH(DecodeAssignFullBlocks)(options, payload, out, count);
  const Tail tail(options, count);
  onebit_scalar_kernels().decode_assign(options, payload + tail.offset, out + tail.first, count - tail.first);
}

void decode_add(const OnebitOptions& options, const std::byte* payload, float* sum, std::size_t count,
                float factor) {
  HWY_DYNAMIC_DISPATCH(DecodeAddFullBlocks)(options, payload, sum, count, factor);
  const Tail tail(options, count);
  onebit_scalar_kernels().decode_add(options, payload + tail.offset, sum + tail.first, count - tail.first,
                                     factor);
}

}  // namespace

const OnebitKernels& onebit_simd_kernels() noexcept {
  static constexpr OnebitKernels kKernels{encode, decode_assign, decode_add};
  return kKernels;
}

}  // namespace gradwire::compress
#endif  // HWY_ONCE
