#include "compress/cuda/device_codecs.hpp"
#include "compress/cuda/for_each.cuh"
#include "compress/half_arithmetic.hpp"

namespace gradwire::compress {
namespace {

template <unsigned kWidth>
struct Halves {
  std::uint16_t at[kWidth];
};

/// Quads lie at multiples of 8 bytes, single ones anywhere.
template <unsigned kWidth>
__device__ __forceinline__ Halves<kWidth> load_halves(const std::byte* from) {
  if constexpr (kWidth == 4) {
    const uint2 words = *reinterpret_cast<const uint2*>(from);
    return {{static_cast<std::uint16_t>(words.x), static_cast<std::uint16_t>(words.x >> 16U),
             static_cast<std::uint16_t>(words.y), static_cast<std::uint16_t>(words.y >> 16U)}};
  } else {
    return {{load_u16(from)}};
  }
}

template <unsigned kWidth>
__device__ __forceinline__ void store_halves(std::byte* to, const Halves<kWidth>& halves) {
  if constexpr (kWidth == 4) {
    const auto word = [](unsigned low, unsigned high) { return low | high << 16U; };
    store_wide(to, make_uint2(word(halves.at[0], halves.at[1]), word(halves.at[2], halves.at[3])));
  } else {
    store_u16(to, halves.at[0]);
  }
}

template <class Format, bool kAdd>
struct HalfEncode {
  static constexpr unsigned kParts = 2;

  Encode in;
  Addend addend;
  std::byte* payload;
  std::uint32_t* non_finite;
  float inverse;

  template <unsigned kWidth>
  struct Part {
    Floats<kWidth> value;
    Floats<kWidth> residual;
    Halves<kWidth> added;
  };

  template <unsigned kWidth>
  __device__ __forceinline__ Part<kWidth> load(std::size_t i) const {
    Part<kWidth> part;
    part.value = load_floats<kWidth>(in.value + i);
    part.residual = load_residuals<kWidth>(in.residual, i);
    if constexpr (kAdd) part.added = load_halves<kWidth>(addend.payload + 2 * i);
    return part;
  }

  template <unsigned kWidth>
  __device__ __forceinline__ void store(std::size_t i, const Part<kWidth>& part) const {
    Halves<kWidth> halves;
    Floats<kWidth> lost;
    bool finite = true;
#pragma unroll
    for (unsigned c = 0; c < kWidth; ++c) {
      float v = part.value.at[c];
      if constexpr (kAdd) v += Format::widen(part.added.at[c]) * addend.factor;
      v += part.residual.at[c];
      const HalfElement element = half_element<Format>(v, part.residual.at[c], in.scale, inverse);
      halves.at[c] = element.half;
      lost.at[c] = element.lost;
      finite = finite && element.finite;
    }
    store_halves<kWidth>(payload + 2 * i, halves);
    if (in.residual_out != nullptr) store_floats<kWidth>(in.residual_out + i, lost);
    // All who write it write the same.
    if (!finite) *non_finite = 1;
  }
};

template <class Format, bool kAdd>
struct HalfDecode {
  static constexpr unsigned kParts = 4;

  const std::byte* payload;
  float* out;
  float factor;

  template <unsigned kWidth>
  struct Part {
    Halves<kWidth> halves;
    Floats<kWidth> sum;
  };

  template <unsigned kWidth>
  __device__ __forceinline__ Part<kWidth> load(std::size_t i) const {
    Part<kWidth> part;
    part.halves = load_halves<kWidth>(payload + 2 * i);
    if constexpr (kAdd) part.sum = load_floats<kWidth>(out + i);
    return part;
  }

  template <unsigned kWidth>
  __device__ __forceinline__ void store(std::size_t i, const Part<kWidth>& part) const {
    Floats<kWidth> result;
#pragma unroll
    for (unsigned c = 0; c < kWidth; ++c) {
      const float decoded = Format::widen(part.halves.at[c]);
      if constexpr (kAdd) {
        result.at[c] = part.sum.at[c] + decoded * factor;
      } else {
        result.at[c] = decoded;
      }
    }
    store_floats<kWidth>(out + i, result);
  }
};

/// A conversion, which does not saturate.
template <class Format>
struct HalfNarrow {
  static constexpr unsigned kParts = 4;

  const float* in;
  std::byte* out;
  std::uint32_t* non_finite;

  template <unsigned kWidth>
  using Part = Floats<kWidth>;

  template <unsigned kWidth>
  __device__ __forceinline__ Part<kWidth> load(std::size_t i) const {
    return load_floats<kWidth>(in + i);
  }

  template <unsigned kWidth>
  __device__ __forceinline__ void store(std::size_t i, const Part<kWidth>& part) const {
    Halves<kWidth> halves;
    bool fits = true;
#pragma unroll
    for (unsigned c = 0; c < kWidth; ++c) {
      halves.at[c] = Format::round(part.at[c]);
      fits = fits && fits_half<Format>(part.at[c]);
    }
    store_halves<kWidth>(out + 2 * i, halves);
    // All who write it write the same.
    if (!fits) *non_finite = 1;
  }
};

template <class Format>
void widen(const std::byte* in, float* out, std::size_t count, Stream stream) {
  for_each(HalfDecode<Format, false>{in, out, 1.0F}, cut_arrays(count, {array_of(in, 2), array_of(out)}),
           stream);
}

template <class Format>
void narrow(const float* in, std::byte* out, std::size_t count, const Launch& launch) {
  for_each(HalfNarrow<Format>{in, out, launch.non_finite},
           cut_arrays(count, {array_of(in), array_of(out, 2)}), launch.stream);
}

template <class Format>
class HalfDeviceCodec final : public DeviceCodec {
 public:
  using DeviceCodec::DeviceCodec;

 private:
  void load_kernels() const override {
    load_for_each<HalfEncode<Format, false>>();
    load_for_each<HalfEncode<Format, true>>();
    load_for_each<HalfDecode<Format, false>>();
    load_for_each<HalfDecode<Format, true>>();
  }

  void encode_sum(const Encode& in, const Addend& addend, std::byte* payload,
                  const Launch& launch) const override {
    const Cut cut =
        cut_arrays(in.count, {array_of(in.value), array_of(in.residual), array_of(in.residual_out),
                              array_of(payload, 2), array_of(addend.payload, 2)});
    const float inverse = 1.0F / in.scale;
    if (addend.payload == nullptr) {
      for_each(HalfEncode<Format, false>{in, addend, payload, launch.non_finite, inverse}, cut,
               launch.stream);
    } else {
      for_each(HalfEncode<Format, true>{in, addend, payload, launch.non_finite, inverse}, cut, launch.stream);
    }
  }

  void assign(const std::byte* payload, float* out, std::size_t count, Stream stream) const override {
    widen<Format>(payload, out, count, stream);
  }

  void add(const std::byte* payload, float* sum, std::size_t count, float factor,
           Stream stream) const override {
    for_each(HalfDecode<Format, true>{payload, sum, factor},
             cut_arrays(count, {array_of(payload, 2), array_of(sum)}), stream);
  }
};

}  // namespace

std::unique_ptr<const DeviceCodec> make_half_device_codec(std::shared_ptr<const Codec> host,
                                                          HalfFormat format) {
  if (format == HalfFormat::fp16) return std::make_unique<HalfDeviceCodec<Float16>>(std::move(host));
  return std::make_unique<HalfDeviceCodec<BFloat16>>(std::move(host));
}

void load_half_conversions() {
  load_for_each<HalfDecode<Float16, false>>();
  load_for_each<HalfDecode<BFloat16, false>>();
  load_for_each<HalfNarrow<Float16>>();
  load_for_each<HalfNarrow<BFloat16>>();
}

void start_widening(HalfFormat format, const std::byte* in, float* out, std::size_t count, Stream stream) {
  if (format == HalfFormat::fp16) {
    widen<Float16>(in, out, count, stream);
  } else {
    widen<BFloat16>(in, out, count, stream);
  }
}

void start_narrowing(HalfFormat format, const float* in, std::byte* out, std::size_t count,
                     const Launch& launch) {
  if (format == HalfFormat::fp16) {
    narrow<Float16>(in, out, count, launch);
  } else {
    narrow<BFloat16>(in, out, count, launch);
  }
}

}  // namespace gradwire::compress
