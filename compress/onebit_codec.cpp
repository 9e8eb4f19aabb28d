#include "compress/onebit_codec.hpp"

#include <fmt/format.h>

#include "compress/float_bits.hpp"

namespace gradwire::compress {
namespace {

class OnebitCodec final : public Codec {
 public:
  OnebitCodec(const OnebitOptions& options, const OnebitKernels& kernels) noexcept
      : options_(options), kernels_(&kernels) {}

  [[nodiscard]] CodecId id() const noexcept override { return CodecId::onebit; }

  [[nodiscard]] std::string spec() const override {
    const OnebitOptions defaults;
    std::string text = "onebit";
    char separator = ':';
    if (options_.block != defaults.block) {
      text += fmt::format("{}block={}", separator, options_.block);
      separator = ',';
    }
    if (options_.scale != defaults.scale)
      text += fmt::format("{}scale={}", separator, to_string(options_.scale));
    return text;
  }

  [[nodiscard]] std::size_t block() const noexcept override { return options_.block; }

  [[nodiscard]] std::size_t max_payload(std::size_t count) const noexcept override {
    return onebit_payload_bytes(options_, count);
  }

  Encoded encode(const Encode& in, std::byte* payload) const override {
    return {max_payload(in.count), kernels_->encode(options_, in, {}, payload)};
  }

  [[nodiscard]] bool valid(std::span<const std::byte> payload, std::size_t count) const noexcept override {
    // A count whose payload size does not fit into size_t is caught by the first comparison.
    if (count / 8 > payload.size() || payload.size() != max_payload(count)) return false;
    const std::size_t used = count % 8;
    return used == 0 || std::to_integer<unsigned>(payload.back()) >> used == 0;
  }

  void decode_assign(std::span<const std::byte> payload, float* out, std::size_t count) const override {
    kernels_->decode_assign(options_, payload.data(), out, count);
  }

  void decode_add(std::span<const std::byte> payload, float* sum, std::size_t count,
                  float factor) const override {
    kernels_->decode_add(options_, payload.data(), sum, count, factor);
  }

  Encoded add_then_encode(std::span<const std::byte> payload, float factor, const Encode& in,
                          std::byte* out) const override {
    return {max_payload(in.count), kernels_->encode(options_, in, {payload.data(), factor}, out)};
  }

 private:
  OnebitOptions options_;
  const OnebitKernels* kernels_;
};

}  // namespace

std::unique_ptr<const Codec> make_onebit_codec(const OnebitOptions& options, const OnebitKernels& kernels) {
  return std::make_unique<OnebitCodec>(options, kernels);
}

std::string_view to_string(OnebitScale scale) noexcept {
  switch (scale) {
    case OnebitScale::two_level: return "two-level";
    case OnebitScale::l1: return "l1";
    case OnebitScale::l2: return "l2";
  }
  return "unknown";
}

}  // namespace gradwire::compress
