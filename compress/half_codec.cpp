#include "compress/half_codec.hpp"

namespace gradwire::compress {
namespace {

class HalfCodec final : public Codec {
 public:
  HalfCodec(HalfFormat format, const HalfKernels& kernels) noexcept : format_(format), kernels_(&kernels) {}

  [[nodiscard]] CodecId id() const noexcept override { return is_fp16() ? CodecId::fp16 : CodecId::bf16; }
  [[nodiscard]] std::string spec() const override { return is_fp16() ? "fp16" : "bf16"; }
  [[nodiscard]] std::size_t block() const noexcept override { return 16; }
  [[nodiscard]] bool narrow_range() const noexcept override { return is_fp16(); }
  [[nodiscard]] std::size_t max_payload(std::size_t count) const noexcept override { return 2 * count; }

  Encoded encode(const Encode& in, std::byte* payload) const override {
    return {max_payload(in.count), kernels_->encode(in, {}, payload)};
  }

  [[nodiscard]] bool valid(std::span<const std::byte> payload, std::size_t count) const noexcept override {
    return payload.size() % 2 == 0 && payload.size() / 2 == count;
  }

  void decode_assign(std::span<const std::byte> payload, float* out, std::size_t count) const override {
    kernels_->decode_assign(payload.data(), out, count);
  }

  void decode_add(std::span<const std::byte> payload, float* sum, std::size_t count,
                  float factor) const override {
    kernels_->decode_add(payload.data(), sum, count, factor);
  }

  Encoded add_then_encode(std::span<const std::byte> payload, float factor, const Encode& in,
                          std::byte* out) const override {
    return {max_payload(in.count), kernels_->encode(in, {payload.data(), factor}, out)};
  }

 private:
  [[nodiscard]] bool is_fp16() const noexcept { return format_ == HalfFormat::fp16; }

  HalfFormat format_;
  const HalfKernels* kernels_;
};

}  // namespace

std::unique_ptr<const Codec> make_half_codec(HalfFormat format, const HalfKernels& kernels) {
  return std::make_unique<HalfCodec>(format, kernels);
}

}  // namespace gradwire::compress
