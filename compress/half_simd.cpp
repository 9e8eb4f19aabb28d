#include "compress/simd_targets.hpp"
// Highway compiles this file once per target, each into a namespace of its own.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/half_simd.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include "compress/encode_rest.hpp"
#include "compress/float_bits.hpp"
#include "compress/half_kernels.hpp"
#include "compress/simd_bytes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace gradwire::compress::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

/// Every function returns how many elements it has done: none.
template <class Format>
struct Vectors {
  static std::size_t encode(const Encode& /*in*/, const Addend& /*addend*/, std::byte* /*payload*/,
                            bool& /*finite*/) {
    return 0;
  }
  static std::size_t assign(const std::byte* /*payload*/, float* /*out*/, std::size_t /*count*/) { return 0; }
  static std::size_t add(const std::byte* /*payload*/, float* /*sum*/, std::size_t /*count*/,
                         float /*factor*/) {
    return 0;
  }
  static std::size_t narrow(const float* /*in*/, std::byte* /*out*/, std::size_t /*count*/, bool& /*fits*/) {
    return 0;
  }
};

#else

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Words = hn::RebindToUnsigned<Floats>;
using SignedWords = hn::RebindToSigned<Floats>;
using Halves = hn::Rebind<std::uint16_t, Floats>;
using Vec = hn::Vec<Floats>;
using WordVec = hn::Vec<Words>;

HWY_INLINE WordVec word(std::uint32_t value) { return hn::Set(Words(), value); }
HWY_INLINE WordVec bits_of(Vec v) { return hn::BitCast(Words(), v); }
HWY_INLINE WordVec magnitude_of(Vec v) { return hn::And(bits_of(v), word(0x7FFFFFFFU)); }
HWY_INLINE Vec floats_of(WordVec w) { return hn::BitCast(Floats(), w); }

/// Whether a is below b, for words below 2^31: signed comparisons exist on every target.
HWY_INLINE hn::Mask<Words> below(WordVec a, WordVec b) {
  const SignedWords d;
  return hn::RebindMask(Words(), hn::Lt(hn::BitCast(d, a), hn::BitCast(d, b)));
}

/// The lowest bit that rounding keeps, for ties to even.
template <int kShift>
HWY_INLINE WordVec odd(WordVec w) {
  return hn::And(hn::ShiftRight<kShift>(w), word(1));
}

// The conversions of float_bits.hpp, step by step, 16 bits in the lower half of every word.

HWY_INLINE WordVec round(BFloat16 /*format*/, Vec v) {
  const WordVec bits = bits_of(v);
  const WordVec rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, word(0x7FFFU)), odd<16>(bits)));
  return hn::IfThenElse(below(word(0x7F800000U), magnitude_of(v)), word(BFloat16::kQuietNan), rounded);
}

HWY_INLINE Vec widen(BFloat16 /*format*/, WordVec half) { return floats_of(hn::ShiftLeft<16>(half)); }

HWY_INLINE WordVec round(Float16 /*format*/, Vec v) {
  const WordVec magnitude = magnitude_of(v);
  const WordVec sign = hn::And(hn::ShiftRight<16>(bits_of(v)), word(0x8000U));
  const WordVec rebased = hn::Sub(magnitude, word(Float16::kRebias));
  const WordVec normal = hn::ShiftRight<13>(hn::Add(hn::Add(rebased, word(0xFFFU)), odd<13>(magnitude)));
  const WordVec small =
      hn::Sub(bits_of(hn::Add(floats_of(magnitude), hn::Set(Floats(), 0.5F))), word(Float16::kHalf));
  WordVec half = hn::IfThenElse(below(magnitude, word(Float16::kSmallestNormal)), small, normal);
  half = hn::IfThenElse(below(magnitude, word(Float16::kOverflow)), half, word(0x7C00U));
  half = hn::Or(half, sign);
  return hn::IfThenElse(below(word(0x7F800000U), magnitude), word(Float16::kQuietNan), half);
}

HWY_INLINE Vec widen(Float16 /*format*/, WordVec half) {
  const WordVec sign = hn::ShiftLeft<16>(hn::And(half, word(0x8000U)));
  const WordVec shifted = hn::ShiftLeft<13>(hn::And(half, word(0x7FFFU)));
  const WordVec normal = hn::Add(shifted, word(Float16::kRebias));
  const WordVec smallest = word(Float16::kSmallestNormal);
  const WordVec small = bits_of(hn::Sub(floats_of(hn::Add(shifted, smallest)), floats_of(smallest)));
  WordVec magnitude = hn::IfThenElse(below(shifted, word(Float16::kShiftedNormal)), small, normal);
  magnitude = hn::IfThenElse(below(shifted, word(Float16::kShiftedInfinity)), magnitude,
                             hn::Add(normal, word(Float16::kRebias)));
  return floats_of(hn::Or(magnitude, sign));
}

HWY_INLINE Vec clamp(Vec v, float largest) {
  const Floats d;
  return hn::Max(hn::Min(v, hn::Set(d, largest)), hn::Set(d, -largest));
}

/// Every function returns how many elements it has done: all but less than a vector.
template <class Format>
struct Vectors {
  static HWY_INLINE Vec load(const std::byte* payload, std::size_t i) {
    return widen(Format(), hn::PromoteTo(Words(), load_bytes(Halves(), payload + 2 * i)));
  }
  static HWY_INLINE void store(WordVec half, std::byte* payload, std::size_t i) {
    store_bytes(Halves(), hn::DemoteTo(Halves(), hn::BitCast(SignedWords(), half)), payload + 2 * i);
  }

  static std::size_t encode(const Encode& in, const Addend& addend, std::byte* payload, bool& finite) {
    const Floats d;
    const std::size_t lanes = hn::Lanes(d);
    const Vec scale = hn::Set(d, in.scale);
    const Vec inverse = hn::Set(d, 1.0F / in.scale);
    const Vec factor = hn::Set(d, addend.factor);
    WordVec largest = hn::Zero(Words());
    std::size_t i = 0;
    for (; i + lanes <= in.count; i += lanes) {
      const Vec residual = in.residual == nullptr ? hn::Zero(d) : hn::LoadU(d, in.residual + i);
      Vec v = hn::LoadU(d, in.value + i);
      if (addend.payload != nullptr) v = hn::Add(v, hn::Mul(load(addend.payload, i), factor));
      v = hn::Add(v, residual);
      const WordVec magnitude = magnitude_of(v);
      largest = hn::Max(largest, magnitude);
      const auto usable = hn::RebindMask(d, below(magnitude, word(0x7F800000U)));
      const WordVec half =
          round(Format(), hn::IfThenElse(usable, clamp(hn::Mul(v, scale), Format::kLargest), v));
      store(half, payload, i);
      if (in.residual_out == nullptr) continue;
      const Vec lost = hn::Sub(v, clamp(hn::Mul(widen(Format(), half), inverse), kLargestFloat));
      hn::StoreU(hn::IfThenElse(usable, lost, residual), d, in.residual_out + i);
    }
    finite = hn::AllTrue(Words(), below(largest, word(0x7F800000U)));
    return i;
  }

  static std::size_t assign(const std::byte* payload, float* out, std::size_t count) {
    const Floats d;
    const std::size_t lanes = hn::Lanes(d);
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) hn::StoreU(load(payload, i), d, out + i);
    return i;
  }

  static std::size_t add(const std::byte* payload, float* sum, std::size_t count, float factor) {
    const Floats d;
    const std::size_t lanes = hn::Lanes(d);
    const Vec times = hn::Set(d, factor);
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::Mul(load(payload, i), times)), d, sum + i);
    }
    return i;
  }

  static std::size_t narrow(const float* in, std::byte* out, std::size_t count, bool& fits) {
    const Floats d;
    const std::size_t lanes = hn::Lanes(d);
    WordVec largest = hn::Zero(Words());
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      const Vec v = hn::LoadU(d, in + i);
      const WordVec magnitude = magnitude_of(v);
      largest = hn::Max(largest, hn::IfThenElseZero(below(magnitude, word(0x7F800000U)), magnitude));
      store(round(Format(), v), out, i);
    }
    fits = hn::AllTrue(Words(), below(largest, word(Format::kOverflow)));
    return i;
  }
};

#endif

std::size_t encode_vectors(HalfFormat format, const Encode& in, const Addend& addend, std::byte* payload,
                           bool& finite) {
  return format == HalfFormat::fp16 ? Vectors<Float16>::encode(in, addend, payload, finite)
                                    : Vectors<BFloat16>::encode(in, addend, payload, finite);
}

std::size_t assign_vectors(HalfFormat format, const std::byte* payload, float* out, std::size_t count) {
  return format == HalfFormat::fp16 ? Vectors<Float16>::assign(payload, out, count)
                                    : Vectors<BFloat16>::assign(payload, out, count);
}

std::size_t add_vectors(HalfFormat format, const std::byte* payload, float* sum, std::size_t count,
                        float factor) {
  return format == HalfFormat::fp16 ? Vectors<Float16>::add(payload, sum, count, factor)
                                    : Vectors<BFloat16>::add(payload, sum, count, factor);
}

std::size_t narrow_vectors(HalfFormat format, const float* in, std::byte* out, std::size_t count,
                           bool& fits) {
  return format == HalfFormat::fp16 ? Vectors<Float16>::narrow(in, out, count, fits)
                                    : Vectors<BFloat16>::narrow(in, out, count, fits);
}

}  // namespace
}  // namespace gradwire::compress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire::compress {
namespace {

HWY_EXPORT(encode_vectors);
HWY_EXPORT(assign_vectors);
HWY_EXPORT(add_vectors);
HWY_EXPORT(narrow_vectors);

// The vectors first, then what is left of them by the scalar version.

template <HalfFormat kFormat>
bool encode(const Encode& in, const Addend& addend, std::byte* payload) {
  bool finite = true;
  const std::size_t done = HWY_DYNAMIC_DISPATCH(encode_vectors)(kFormat, in, addend, payload, finite);
  finite &= half_scalar_kernels(kFormat).encode(from(in, done), from(addend, 2 * done), payload + 2 * done);
  return finite;
}

template <HalfFormat kFormat>
void decode_assign(const std::byte* payload, float* out, std::size_t count) {
  const std::size_t done = HWY_DYNAMIC_DISPATCH(assign_vectors)(kFormat, payload, out, count);
  half_scalar_kernels(kFormat).decode_assign(payload + 2 * done, out + done, count - done);
}

template <HalfFormat kFormat>
void decode_add(const std::byte* payload, float* sum, std::size_t count, float factor) {
  const std::size_t done = HWY_DYNAMIC_DISPATCH(add_vectors)(kFormat, payload, sum, count, factor);
  half_scalar_kernels(kFormat).decode_add(payload + 2 * done, sum + done, count - done, factor);
}

template <HalfFormat kFormat>
bool narrow(const float* in, std::byte* out, std::size_t count) {
  bool fits = true;
  const std::size_t done = HWY_DYNAMIC_DISPATCH(narrow_vectors)(kFormat, in, out, count, fits);
  fits &= half_scalar_kernels(kFormat).narrow(in + done, out + 2 * done, count - done);
  return fits;
}

template <HalfFormat kFormat>
constexpr HalfKernels kKernels{encode<kFormat>, decode_assign<kFormat>, decode_add<kFormat>, narrow<kFormat>};

}  // namespace

const HalfKernels& half_simd_kernels(HalfFormat format) noexcept {
  return format == HalfFormat::fp16 ? kKernels<HalfFormat::fp16> : kKernels<HalfFormat::bf16>;
}

}  // namespace gradwire::compress
#endif  // HWY_ONCE
