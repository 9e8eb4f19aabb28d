#include "compress/half_arithmetic.hpp"
#include "compress/half_kernels.hpp"

namespace gradwire::compress {
namespace {

template <class Format>
float load(const std::byte* payload, std::size_t i) noexcept {
  return Format::widen(load_u16(payload + 2 * i));
}

template <class Format>
bool encode(const Encode& in, const Addend& addend, std::byte* payload) {
  const float inverse = 1.0F / in.scale;
  bool finite = true;
  for (std::size_t i = 0; i < in.count; ++i) {
    const float residual = in.residual == nullptr ? 0.0F : in.residual[i];
    float v = in.value[i];
    if (addend.payload != nullptr) v += load<Format>(addend.payload, i) * addend.factor;
    v += residual;
    const HalfElement element = half_element<Format>(v, residual, in.scale, inverse);
    store_u16(payload + 2 * i, element.half);
    finite &= element.finite;
    if (in.residual_out != nullptr) in.residual_out[i] = element.lost;
  }
  return finite;
}

template <class Format>
void decode_assign(const std::byte* payload, float* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = load<Format>(payload, i);
}

template <class Format>
void decode_add(const std::byte* payload, float* sum, std::size_t count, float factor) {
  for (std::size_t i = 0; i < count; ++i) sum[i] += load<Format>(payload, i) * factor;
}

template <class Format>
bool narrow(const float* in, std::byte* out, std::size_t count) {
  bool fits = true;
  for (std::size_t i = 0; i < count; ++i) {
    fits &= fits_half<Format>(in[i]);
    store_u16(out + 2 * i, Format::round(in[i]));
  }
  return fits;
}

template <class Format>
constexpr HalfKernels kKernels{encode<Format>, decode_assign<Format>, decode_add<Format>, narrow<Format>};

}  // namespace

const HalfKernels& half_scalar_kernels(HalfFormat format) noexcept {
  return format == HalfFormat::fp16 ? kKernels<Float16> : kKernels<BFloat16>;
}

}  // namespace gradwire::compress
