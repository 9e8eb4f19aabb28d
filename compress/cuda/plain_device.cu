#include <cmath>
#include <cstring>

#include "compress/cuda/device_codecs.hpp"
#include "compress/cuda/for_each.cuh"

namespace gradwire::compress {
namespace {

/// Quads lie at multiples of 16 bytes, single ones anywhere.
template <unsigned kWidth>
__device__ __forceinline__ Floats<kWidth> load_payload(const std::byte* from) {
  if constexpr (kWidth == 4) {
    return load_floats<4>(reinterpret_cast<const float*>(from));
  } else {
    Floats<1> single;
    memcpy(single.at, from, sizeof single.at);
    return single;
  }
}

template <unsigned kWidth>
__device__ __forceinline__ void store_payload(std::byte* to, const Floats<kWidth>& floats) {
  if constexpr (kWidth == 4) {
    store_floats<4>(reinterpret_cast<float*>(to), floats);
  } else {
    memcpy(to, floats.at, sizeof floats.at);
  }
}

enum class PlainSum : std::uint8_t { send, send_added, look };

template <PlainSum kSum>
struct PlainEncode {
  static constexpr unsigned kParts = 2;

  Encode in;
  Addend addend;
  std::byte* payload;
  std::uint32_t* non_finite;

  template <unsigned kWidth>
  struct Part {
    Floats<kWidth> value;
    Floats<kWidth> residual;
    Floats<kWidth> added;
  };

  template <unsigned kWidth>
  __device__ __forceinline__ Part<kWidth> load(std::size_t i) const {
    Part<kWidth> part;
    part.value = load_floats<kWidth>(in.value + i);
    part.residual = load_residuals<kWidth>(in.residual, i);
    if constexpr (kSum == PlainSum::send_added) {
      part.added = load_payload<kWidth>(addend.payload + sizeof(float) * i);
    }
    return part;
  }

  template <unsigned kWidth>
  __device__ __forceinline__ void store(std::size_t i, const Part<kWidth>& part) const {
    Floats<kWidth> sum;
    Floats<kWidth> left;
    bool finite = true;
#pragma unroll
    for (unsigned c = 0; c < kWidth; ++c) {
      float v = part.value.at[c];
      if constexpr (kSum == PlainSum::send_added) v += part.added.at[c] * addend.factor;
      if (in.residual != nullptr) v += part.residual.at[c];
      left.at[c] = 0.0F;
      if constexpr (kSum == PlainSum::look) {
        if (!std::isfinite(v)) {
          left.at[c] = part.residual.at[c];
          finite = false;
        }
      }
      sum.at[c] = in.scale == 1.0F ? v : v * in.scale;
    }
    store_payload<kWidth>(payload + sizeof(float) * i, sum);
    if (in.residual_out != nullptr) store_floats<kWidth>(in.residual_out + i, left);
    // All who write it write the same.
    if (kSum == PlainSum::look && !finite) *non_finite = 1;
  }
};

struct PlainAdd {
  static constexpr unsigned kParts = 4;

  const std::byte* payload;
  float* sum;
  float factor;

  template <unsigned kWidth>
  struct Part {
    Floats<kWidth> added;
    Floats<kWidth> sum;
  };

  template <unsigned kWidth>
  __device__ __forceinline__ Part<kWidth> load(std::size_t i) const {
    return {load_payload<kWidth>(payload + sizeof(float) * i), load_floats<kWidth>(sum + i)};
  }

  template <unsigned kWidth>
  __device__ __forceinline__ void store(std::size_t i, const Part<kWidth>& part) const {
    Floats<kWidth> result;
#pragma unroll
    for (unsigned c = 0; c < kWidth; ++c) result.at[c] = part.sum.at[c] + part.added.at[c] * factor;
    store_floats<kWidth>(sum + i, result);
  }
};

template <PlainSum kSum>
void encode_plain(const Encode& in, const Addend& addend, std::byte* payload, const Launch& launch) {
  constexpr std::size_t kElement = sizeof(float);
  for_each(PlainEncode<kSum>{in, addend, payload, launch.non_finite},
           cut_arrays(in.count, {array_of(in.value), array_of(in.residual), array_of(in.residual_out),
                                 array_of(payload, kElement), array_of(addend.payload, kElement)}),
           launch.stream);
}

class PlainDeviceCodec final : public DeviceCodec {
 public:
  using DeviceCodec::DeviceCodec;

 private:
  void load_kernels() const override {
    load_for_each<PlainEncode<PlainSum::send>>();
    load_for_each<PlainEncode<PlainSum::send_added>>();
    load_for_each<PlainAdd>();
  }

  void encode_sum(const Encode& in, const Addend& addend, std::byte* payload,
                  const Launch& launch) const override {
    if (addend.payload != nullptr) {
      encode_plain<PlainSum::send_added>(in, addend, payload, launch);
    } else if (in.residual == nullptr && in.residual_out == nullptr && in.scale == 1.0F) {
      copy_on(launch.stream, payload, in.value, sizeof(float) * in.count);
    } else {
      encode_plain<PlainSum::send>(in, addend, payload, launch);
    }
  }

  void assign(const std::byte* payload, float* out, std::size_t count, Stream stream) const override {
    copy_on(stream, out, payload, sizeof(float) * count);
  }

  void add(const std::byte* payload, float* sum, std::size_t count, float factor,
           Stream stream) const override {
    for_each(PlainAdd{payload, sum, factor},
             cut_arrays(count, {array_of(payload, sizeof(float)), array_of(sum)}), stream);
  }
};

}  // namespace

std::unique_ptr<const DeviceCodec> make_plain_device_codec(std::shared_ptr<const Codec> host) {
  return std::make_unique<PlainDeviceCodec>(std::move(host));
}

void load_finish_sum_kernels() {
  load_for_each<PlainEncode<PlainSum::send>>();
  load_for_each<PlainEncode<PlainSum::look>>();
}

void start_finish_sum(const Encode& in, float* result, bool look, const Launch& launch) {
  auto* bytes = reinterpret_cast<std::byte*>(result);
  if (look) {
    encode_plain<PlainSum::look>(in, {}, bytes, launch);
  } else {
    encode_plain<PlainSum::send>(in, {}, bytes, launch);
  }
}

}  // namespace gradwire::compress
