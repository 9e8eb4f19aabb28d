#include "compress/cuda/device_codecs.hpp"
#include "compress/cuda/for_each.cuh"
#include "compress/cuda/onebit_encode_device.cuh"

namespace gradwire::compress {
namespace {

inline constexpr unsigned kMostThreads = 128;

__device__ __forceinline__ std::size_t first_of_tile(const OnebitJob& job) {
  const unsigned warps = blockDim.x / kWarpLanes;
  return (std::size_t{blockIdx.x} * warps + threadIdx.x / kWarpLanes) * job.tile;
}

/// Several blocks of 16 may be in the last tile, and each step takes what 32 lanes hold.
template <OnebitScale kScale>
__device__ __forceinline__ void encode_tile_in_steps(const OnebitJob& job, std::size_t first) {
  const unsigned stride = job.frame.block < kWarpLanes ? kWarpLanes : job.frame.block;
  const std::size_t end = first + job.tile < job.in.count ? first + job.tile : job.in.count;
#pragma unroll 1
  for (std::size_t begin = first; begin < end; begin += stride) encode_in_steps<kScale>(job, begin);
}

/// Thread blocks that a multiprocessor shall hold at the least. Without this ptxas makes room for more of
/// them, and spills a register or two.
constexpr unsigned resident_blocks(unsigned quads) {
  if (quads == 8) return 3;
  return quads == 4 ? 5 : 8;
}

template <OnebitScale kScale, unsigned kQuads>
__global__ void __launch_bounds__(kMostThreads, resident_blocks(kQuads)) encode_quads_kernel(OnebitJob job) {
  const std::size_t first = first_of_tile(job);
  if (first + kQuads * kWarpQuads <= job.in.count) {
    encode_in_registers<kScale, kQuads>(job, first);
  } else {
    encode_tile_in_steps<kScale>(job, first);
  }
}

template <OnebitScale kScale>
__global__ void __launch_bounds__(kMostThreads) encode_steps_kernel(OnebitJob job) {
  encode_tile_in_steps<kScale>(job, first_of_tile(job));
}

using EncodeKernel = void (*)(OnebitJob);

template <OnebitScale kScale>
EncodeKernel encode_kernel(unsigned quads) {
  switch (quads) {
    case 1: return encode_quads_kernel<kScale, 1>;
    case 2: return encode_quads_kernel<kScale, 2>;
    case 4: return encode_quads_kernel<kScale, 4>;
    case 8: return encode_quads_kernel<kScale, 8>;
    default: return encode_steps_kernel<kScale>;
  }
}

EncodeKernel encode_kernel(OnebitScale scale, unsigned quads) {
  switch (scale) {
    case OnebitScale::two_level: return encode_kernel<OnebitScale::two_level>(quads);
    case OnebitScale::l1: return encode_kernel<OnebitScale::l1>(quads);
    case OnebitScale::l2: break;
  }
  return encode_kernel<OnebitScale::l2>(quads);
}

/// l1 and l2 decode alike.
template <OnebitScale kScale, bool kWhole, bool kAdd>
struct OnebitDecode {
  static constexpr unsigned kParts = 4;

  OnebitFrame frame;
  const std::byte* payload;
  float* out;
  float factor;

  template <unsigned kWidth>
  struct Part {
    OnebitPart part;
    Floats<kWidth> sum;
  };

  template <unsigned kWidth>
  __device__ __forceinline__ Part<kWidth> load(std::size_t i) const {
    const OnebitPart part = load_onebit<kScale, kWhole>(frame, payload, i);
    if constexpr (kAdd) {
      return {part, load_floats<kWidth>(out + i)};
    } else {
      return {part, {}};
    }
  }

  template <unsigned kWidth>
  __device__ __forceinline__ void store(std::size_t i, const Part<kWidth>& loaded) const {
    const OnebitDecoded levels = onebit_decoded(kScale, loaded.part.stored, factor);
    Floats<kWidth> result;
#pragma unroll
    for (unsigned c = 0; c < kWidth; ++c) {
      const float decoded = level_of(levels, loaded.part.bits, c);
      result.at[c] = kAdd ? loaded.sum.at[c] + decoded : decoded;
    }
    store_floats<kWidth>(out + i, result);
  }
};

class OnebitDeviceCodec final : public DeviceCodec {
 public:
  OnebitDeviceCodec(std::shared_ptr<const Codec> host, const OnebitOptions& options) noexcept
      : DeviceCodec(std::move(host)), scale_(options.scale), frame_(options) {}

 private:
  void load_kernels() const override {
    for (const bool aligned : {true, false}) {
      load_kernel(encode_kernel(scale_, onebit_tiles(frame_.block, aligned).quads));
    }
    if (scale_ == OnebitScale::two_level) {
      load_decode_kernels<OnebitScale::two_level>();
    } else {
      load_decode_kernels<OnebitScale::l1>();
    }
  }

  template <OnebitScale kScale>
  static void load_decode_kernels() {
    load_for_each<OnebitDecode<kScale, false, false>>();
    load_for_each<OnebitDecode<kScale, false, true>>();
    load_for_each<OnebitDecode<kScale, true, false>>();
    load_for_each<OnebitDecode<kScale, true, true>>();
  }

  void encode_sum(const Encode& in, const Addend& addend, std::byte* payload,
                  const Launch& launch) const override {
    const bool aligned = quads_begin_at(array_of(in.value), 0) && quads_begin_at(array_of(in.residual), 0) &&
                         quads_begin_at(array_of(in.residual_out), 0);
    const OnebitTiles tiles = onebit_tiles(frame_.block, aligned);
    const OnebitJob job{frame_, in, addend, payload, launch.non_finite, 1.0F / in.scale, tiles.elements};
    launch_kernel(encode_kernel(scale_, tiles.quads), onebit_grid(in.count, tiles), launch.stream, job);
  }

  void assign(const std::byte* payload, float* out, std::size_t count, Stream stream) const override {
    decode<false>(payload, out, count, 1.0F, stream);
  }

  void add(const std::byte* payload, float* sum, std::size_t count, float factor,
           Stream stream) const override {
    decode<true>(payload, sum, count, factor, stream);
  }

  template <bool kAdd>
  void decode(const std::byte* payload, float* out, std::size_t count, float factor, Stream stream) const {
    if (scale_ == OnebitScale::two_level) {
      decode<OnebitScale::two_level, kAdd>(payload, out, count, factor, stream);
    } else {
      decode<OnebitScale::l1, kAdd>(payload, out, count, factor, stream);
    }
  }

  template <OnebitScale kScale, bool kAdd>
  void decode(const std::byte* payload, float* out, std::size_t count, float factor, Stream stream) const {
    const Cut cut = cut_from_start(count, array_of(out));
    if (frame_.whole_scales(payload)) {
      for_each(OnebitDecode<kScale, true, kAdd>{frame_, payload, out, factor}, cut, stream);
    } else {
      for_each(OnebitDecode<kScale, false, kAdd>{frame_, payload, out, factor}, cut, stream);
    }
  }

  OnebitScale scale_;
  OnebitFrame frame_;
};

}  // namespace

std::unique_ptr<const DeviceCodec> make_onebit_device_codec(std::shared_ptr<const Codec> host,
                                                            const OnebitOptions& options) {
  return std::make_unique<OnebitDeviceCodec>(std::move(host), options);
}

}  // namespace gradwire::compress
