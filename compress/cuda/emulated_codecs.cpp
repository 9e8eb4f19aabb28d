#include <span>
#include <utility>

#include "compress/cuda/device_codecs.hpp"
#include "compress/cuda/emulated_device.hpp"

// The kernels' stand-ins: the scalar reference, run by the stream's thread.

namespace gradwire::compress {
namespace {

using emulated::put_on;
using emulated::require_kernel_memory;

void require_sum(const Encode& in) {
  for (const float* array : {in.value, in.residual, static_cast<const float*>(in.residual_out)}) {
    require_kernel_memory(array, in.count * sizeof(float));
  }
}

void report(std::uint32_t* non_finite, bool finite) {
  if (!finite) *non_finite = 1;
}

class EmulatedCodec final : public DeviceCodec {
 public:
  explicit EmulatedCodec(std::shared_ptr<const Codec> host)
      : DeviceCodec(std::move(host)), reference_(make_reference_codec(this->host().spec())) {}

 private:
  void load_kernels() const override {}
  void encode_sum(const Encode& in, const Addend& addend, std::byte* payload,
                  const Launch& launch) const override {
    const std::size_t bytes = reference_->max_payload(in.count);
    require_sum(in);
    require_kernel_memory(payload, bytes);
    require_kernel_memory(addend.payload, bytes);
    require_kernel_memory(launch.non_finite, sizeof *launch.non_finite);
    put_on(launch.stream, [=, codec = reference_, flag = launch.non_finite] {
      const Encoded encoded =
          addend.payload == nullptr
              ? codec->encode(in, payload)
              : codec->add_then_encode(std::span(addend.payload, bytes), addend.factor, in, payload);
      report(flag, encoded.finite);
    });
  }

  void assign(const std::byte* payload, float* out, std::size_t count, Stream stream) const override {
    const std::span<const std::byte> bytes(payload, reference_->max_payload(count));
    require_kernel_memory(payload, bytes.size());
    require_kernel_memory(out, count * sizeof(float));
    put_on(stream, [=, codec = reference_] { codec->decode_assign(bytes, out, count); });
  }

  void add(const std::byte* payload, float* sum, std::size_t count, float factor,
           Stream stream) const override {
    const std::span<const std::byte> bytes(payload, reference_->max_payload(count));
    require_kernel_memory(payload, bytes.size());
    require_kernel_memory(sum, count * sizeof(float));
    put_on(stream, [=, codec = reference_] { codec->decode_add(bytes, sum, count, factor); });
  }

  std::shared_ptr<const Codec> reference_;
};

std::unique_ptr<const DeviceCodec> emulate(std::shared_ptr<const Codec> host) {
  return std::make_unique<EmulatedCodec>(std::move(host));
}

}  // namespace

std::unique_ptr<const DeviceCodec> make_plain_device_codec(std::shared_ptr<const Codec> host) {
  return emulate(std::move(host));
}
std::unique_ptr<const DeviceCodec> make_half_device_codec(std::shared_ptr<const Codec> host,
                                                          HalfFormat /*format*/) {
  return emulate(std::move(host));
}
std::unique_ptr<const DeviceCodec> make_onebit_device_codec(std::shared_ptr<const Codec> host,
                                                            const OnebitOptions& /*options*/) {
  return emulate(std::move(host));
}

void load_finish_sum_kernels() {}
void start_finish_sum(const Encode& in, float* result, bool look, const Launch& launch) {
  require_sum(in);
  require_kernel_memory(result, in.count * sizeof(float));
  if (look) require_kernel_memory(launch.non_finite, sizeof *launch.non_finite);
  put_on(launch.stream, [=, flag = launch.non_finite] { report(flag, finish_sum(in, result, look)); });
}

void load_half_conversions() {}
void start_widening(HalfFormat format, const std::byte* in, float* out, std::size_t count, Stream stream) {
  require_kernel_memory(in, 2 * count);
  require_kernel_memory(out, count * sizeof(float));
  put_on(stream, [=] { half_scalar_kernels(format).decode_assign(in, out, count); });
}
void start_narrowing(HalfFormat format, const float* in, std::byte* out, std::size_t count,
                     const Launch& launch) {
  require_kernel_memory(in, count * sizeof(float));
  require_kernel_memory(out, 2 * count);
  require_kernel_memory(launch.non_finite, sizeof *launch.non_finite);
  put_on(launch.stream,
         [=, flag = launch.non_finite] { report(flag, half_scalar_kernels(format).narrow(in, out, count)); });
}

}  // namespace gradwire::compress
