#include "compress/simd_targets.hpp"
// Highway compiles this file once per target, each into a namespace of its own.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compress/plain_simd.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include "compress/encode_rest.hpp"
#include "compress/plain_kernels.hpp"
#include "compress/simd_bytes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace gradwire::compress::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

std::size_t encode_vectors(const Encode& /*in*/, const Addend& /*addend*/, std::byte* /*payload*/) {
  return 0;
}
std::size_t look_vectors(const Encode& /*in*/, std::byte* /*payload*/, bool& /*finite*/) { return 0; }
std::size_t add_vectors(const std::byte* /*payload*/, float* /*sum*/, std::size_t /*count*/,
                        float /*factor*/) {
  return 0;
}

#else

using Floats = hn::ScalableTag<float>;

HWY_INLINE hn::Vec<Floats> load(const std::byte* payload, std::size_t i) {
  return load_bytes(Floats(), payload + sizeof(float) * i);
}

/// All return how many elements they have done: all but less than a vector.
std::size_t encode_vectors(const Encode& in, const Addend& addend, std::byte* payload) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  const auto factor = hn::Set(d, addend.factor);
  const auto scale = hn::Set(d, in.scale);
  std::size_t i = 0;
  for (; i + lanes <= in.count; i += lanes) {
    auto v = hn::LoadU(d, in.value + i);
    if (addend.payload != nullptr) v = hn::Add(v, hn::Mul(load(addend.payload, i), factor));
    if (in.residual != nullptr) v = hn::Add(v, hn::LoadU(d, in.residual + i));
    if (in.scale != 1.0F) v = hn::Mul(v, scale);
    store_bytes(d, v, payload + sizeof(float) * i);
    if (in.residual_out != nullptr) hn::StoreU(hn::Zero(d), d, in.residual_out + i);
  }
  return i;
}

std::size_t look_vectors(const Encode& in, std::byte* payload, bool& finite) {
  const Floats d;
  const hn::RebindToSigned<Floats> words;
  const std::size_t lanes = hn::Lanes(d);
  const auto scale = hn::Set(d, in.scale);
  const auto sign = hn::SignBit(d);
  const auto infinity = hn::Set(words, 0x7F800000);
  auto largest = hn::Zero(words);
  std::size_t i = 0;
  for (; i + lanes <= in.count; i += lanes) {
    const auto residual = in.residual == nullptr ? hn::Zero(d) : hn::LoadU(d, in.residual + i);
    auto v = hn::LoadU(d, in.value + i);
    if (in.residual != nullptr) v = hn::Add(v, residual);
    const auto magnitude = hn::BitCast(words, hn::AndNot(sign, v));
    largest = hn::Max(largest, magnitude);
    const auto usable = hn::RebindMask(d, hn::Lt(magnitude, infinity));
    if (in.scale != 1.0F) v = hn::Mul(v, scale);
    store_bytes(d, v, payload + sizeof(float) * i);
    if (in.residual_out != nullptr) hn::StoreU(hn::IfThenZeroElse(usable, residual), d, in.residual_out + i);
  }
  finite = hn::AllTrue(words, hn::Lt(largest, infinity));
  return i;
}

std::size_t add_vectors(const std::byte* payload, float* sum, std::size_t count, float factor) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  const auto times = hn::Set(d, factor);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::Mul(load(payload, i), times)), d, sum + i);
  }
  return i;
}

#endif
}  // namespace
}  // namespace gradwire::compress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gradwire::compress {
namespace {

HWY_EXPORT(encode_vectors);
HWY_EXPORT(look_vectors);
HWY_EXPORT(add_vectors);

void encode(const Encode& in, const Addend& addend, std::byte* payload) {
  const std::size_t done = HWY_DYNAMIC_DISPATCH(encode_vectors)(in, addend, payload);
  const std::size_t offset = sizeof(float) * done;
  plain_scalar_kernels().encode(from(in, done), from(addend, offset), payload + offset);
}

bool encode_and_look(const Encode& in, std::byte* payload) {
  bool finite = true;
  const std::size_t done = HWY_DYNAMIC_DISPATCH(look_vectors)(in, payload, finite);
  finite &= plain_scalar_kernels().encode_and_look(from(in, done), payload + sizeof(float) * done);
  return finite;
}

void decode_add(const std::byte* payload, float* sum, std::size_t count, float factor) {
  const std::size_t done = HWY_DYNAMIC_DISPATCH(add_vectors)(payload, sum, count, factor);
  plain_scalar_kernels().decode_add(payload + sizeof(float) * done, sum + done, count - done, factor);
}

}  // namespace

const PlainKernels& plain_simd_kernels() noexcept {
  static constexpr PlainKernels kKernels{encode, encode_and_look, decode_add};
  return kKernels;
}

}  // namespace gradwire::compress
#endif  // HWY_ONCE
