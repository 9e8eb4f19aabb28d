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
    for_each(HalfDecode<Format, false>{payload, out, 1.0F},
             cut_arrays(count, {array_of(payload, 2), array_of(out)}), stream);
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

}  // namespace gradwire::compress
