#include "compress/cuda/device_codec.hpp"

#include "base/float_mode.hpp"
#include "compress/cuda/device_codecs.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {

void check_launch(bool looks, const Launch& launch) {
  require_device_stream(launch.stream);
  if (!looks || launch.non_finite != nullptr) return;
  throw Error(ErrorCode::invalid_argument,
              "a kernel was to look for values that are not finite without a flag",
              "give Launch::non_finite a word of device memory");
}

void DeviceCodec::load() const {
  load_kernels();
  load_finish_sum_kernels();
}

void DeviceCodec::encode(const Encode& in, std::byte* payload, const Launch& launch) const {
  check_launch(host_->lossy(), launch);
  if (in.count == 0) return;
  // 1 / scale is rounded here.
  const base::FloatMode plain;
  encode_sum(in, {}, payload, launch);
}

void DeviceCodec::add_then_encode(const std::byte* payload, float factor, const Encode& in, std::byte* out,
                                  const Launch& launch) const {
  check_launch(host_->lossy(), launch);
  if (in.count == 0) return;
  const base::FloatMode plain;
  encode_sum(in, {payload, factor}, out, launch);
}

void DeviceCodec::decode_assign(const std::byte* payload, float* out, std::size_t count,
                                Stream stream) const {
  require_device_stream(stream);
  if (count > 0) assign(payload, out, count, stream);
}

void DeviceCodec::decode_add(const std::byte* payload, float* sum, std::size_t count, float factor,
                             Stream stream) const {
  require_device_stream(stream);
  if (count > 0) add(payload, sum, count, factor, stream);
}

void finish_sum_on_device(const Encode& in, float* result, bool look, const Launch& launch) {
  check_launch(look, launch);
  if (in.count > 0) start_finish_sum(in, result, look, launch);
}

}  // namespace gradwire::compress
