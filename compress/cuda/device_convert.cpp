#include "compress/cuda/device_convert.hpp"

#include "compress/cuda/device_codecs.hpp"

namespace gradwire::compress {
namespace {

HalfFormat format_of(DType dtype) noexcept {
  return dtype == DType::float16 ? HalfFormat::fp16 : HalfFormat::bf16;
}

}  // namespace

void load_conversion_kernels() { load_half_conversions(); }

void to_float32_on_device(DType dtype, const void* in, float* out, std::size_t count, Stream stream) {
  require_device_stream(stream);
  if (dtype == DType::float32) {
    copy_on(stream, out, in, count * sizeof(float));
  } else if (count > 0) {
    start_widening(format_of(dtype), static_cast<const std::byte*>(in), out, count, stream);
  }
}

void from_float32_on_device(DType dtype, const float* in, void* out, std::size_t count,
                            const Launch& launch) {
  check_launch(dtype != DType::float32, launch);
  if (dtype == DType::float32) {
    copy_on(launch.stream, out, in, count * sizeof(float));
  } else if (count > 0) {
    start_narrowing(format_of(dtype), in, static_cast<std::byte*>(out), count, launch);
  }
}

}  // namespace gradwire::compress
