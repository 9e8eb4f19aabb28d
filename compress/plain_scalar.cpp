#include <cmath>
#include <cstring>

#include "compress/plain_kernels.hpp"

namespace gradwire::compress {
namespace {

float load(const std::byte* payload, std::size_t i) noexcept {
  float value = 0;
  std::memcpy(&value, payload + sizeof value * i, sizeof value);
  return value;
}

void encode(const Encode& in, const Addend& addend, std::byte* payload) {
  for (std::size_t i = 0; i < in.count; ++i) {
    float v = in.value[i];
    if (addend.payload != nullptr) v += load(addend.payload, i) * addend.factor;
    if (in.residual != nullptr) v += in.residual[i];
    if (in.scale != 1.0F) v *= in.scale;
    std::memcpy(payload + sizeof v * i, &v, sizeof v);
    if (in.residual_out != nullptr) in.residual_out[i] = 0.0F;
  }
}

bool encode_and_look(const Encode& in, std::byte* payload) {
  bool finite = true;
  for (std::size_t i = 0; i < in.count; ++i) {
    const float residual = in.residual == nullptr ? 0.0F : in.residual[i];
    float v = in.value[i];
    if (in.residual != nullptr) v += residual;
    const bool usable = std::isfinite(v);
    finite &= usable;
    if (in.scale != 1.0F) v *= in.scale;
    std::memcpy(payload + sizeof v * i, &v, sizeof v);
    if (in.residual_out != nullptr) in.residual_out[i] = usable ? 0.0F : residual;
  }
  return finite;
}

void decode_add(const std::byte* payload, float* sum, std::size_t count, float factor) {
  for (std::size_t i = 0; i < count; ++i) sum[i] += load(payload, i) * factor;
}

}  // namespace

const PlainKernels& plain_scalar_kernels() noexcept {
  static constexpr PlainKernels kKernels{encode, encode_and_look, decode_add};
  return kKernels;
}

}  // namespace gradwire::compress
