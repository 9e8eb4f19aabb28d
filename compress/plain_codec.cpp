#include "compress/plain_codec.hpp"

#include <algorithm>
#include <cstring>

namespace gradwire::compress {
namespace {

class PlainCodec final : public Codec {
 public:
  explicit PlainCodec(const PlainKernels& kernels) noexcept : kernels_(&kernels) {}

  [[nodiscard]] CodecId id() const noexcept override { return CodecId::none; }
  [[nodiscard]] std::string spec() const override { return "none"; }
  [[nodiscard]] std::size_t block() const noexcept override { return 16; }
  [[nodiscard]] bool identity() const noexcept override { return true; }
  [[nodiscard]] std::size_t max_payload(std::size_t count) const noexcept override {
    return sizeof(float) * count;
  }

  Encoded encode(const Encode& in, std::byte* payload) const override {
    const std::size_t bytes = max_payload(in.count);
    if (in.residual == nullptr && in.scale == 1.0F) {
      const bool in_place = payload == reinterpret_cast<const std::byte*>(in.value);
      if (bytes > 0 && !in_place) std::memcpy(payload, in.value, bytes);
      if (in.residual_out != nullptr) std::fill_n(in.residual_out, in.count, 0.0F);
    } else {
      kernels_->encode(in, {}, payload);
    }
    return {bytes, true};
  }

  [[nodiscard]] bool valid(std::span<const std::byte> payload, std::size_t count) const noexcept override {
    return payload.size() % sizeof(float) == 0 && payload.size() / sizeof(float) == count;
  }

  void decode_assign(std::span<const std::byte> payload, float* out, std::size_t count) const override {
    if (count > 0) std::memmove(out, payload.data(), max_payload(count));
  }

  void decode_add(std::span<const std::byte> payload, float* sum, std::size_t count,
                  float factor) const override {
    kernels_->decode_add(payload.data(), sum, count, factor);
  }

  Encoded add_then_encode(std::span<const std::byte> payload, float factor, const Encode& in,
                          std::byte* out) const override {
    kernels_->encode(in, {payload.data(), factor}, out);
    return {max_payload(in.count), true};
  }

 private:
  const PlainKernels* kernels_;
};

}  // namespace

std::unique_ptr<const Codec> make_plain_codec(const PlainKernels& kernels) {
  return std::make_unique<PlainCodec>(kernels);
}

}  // namespace gradwire::compress
