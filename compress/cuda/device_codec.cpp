#include "compress/cuda/device_codec.hpp"

#include "compress/cuda/device_codecs.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

void check_flag(bool looks, const Launch& launch) {
  if (!looks || launch.non_finite != nullptr) return;
  throw Error(ErrorCode::invalid_argument,
              "a kernel was to look for values that are not finite without a flag",
              "give Launch::non_finite a word of device memory");
}

}  // namespace

void DeviceCodec::encode(const Encode& in, std::byte* payload, const Launch& launch) const {
  check_flag(host_->lossy(), launch);
  if (in.count > 0) encode_sum(in, {}, payload, launch);
}

void DeviceCodec::add_then_encode(const std::byte* payload, float factor, const Encode& in, std::byte* out,
                                  const Launch& launch) const {
  check_flag(host_->lossy(), launch);
  if (in.count > 0) encode_sum(in, {payload, factor}, out, launch);
}

void finish_sum_on_device(const Encode& in, float* result, bool look, const Launch& launch) {
  check_flag(look, launch);
  if (in.count > 0) start_finish_sum(in, result, look, launch);
}

}  // namespace gradwire::compress
