#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "compress/codec.hpp"
#include "tests/support/normal_floats.hpp"

namespace gradwire::compress {

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

/// Every codec, with the options that take paths of their own.
inline const std::vector<std::string>& all_specs() {
  static const std::vector<std::string> specs{"none",
                                              "fp16",
                                              "bf16",
                                              "onebit",
                                              "onebit:scale=l1",
                                              "onebit:scale=l2",
                                              "onebit:block=16",
                                              "onebit:block=32,scale=l1",
                                              "onebit:block=64",
                                              "onebit:block=128,scale=l2",
                                              "onebit:block=512",
                                              "onebit:block=1024,scale=l2"};
  return specs;
}

inline std::vector<std::string> onebit_specs() {
  std::vector<std::string> specs;
  for (const std::string& spec : all_specs()) {
    if (spec.starts_with("onebit")) specs.push_back(spec);
  }
  return specs;
}

/// Finite floats of every magnitude, zeros of both signs and denormals among them.
inline Floats wild(std::size_t count, unsigned seed, float largest = 1e30F) {
  std::mt19937 engine(seed);
  Floats values(count);
  for (float& value : values) {
    const auto pattern = static_cast<std::uint32_t>(engine());
    const std::uint32_t sign = pattern & 0x80000000U;
    switch (engine() % 8) {
      case 0: value = std::bit_cast<float>(sign); break;
      case 1: value = std::bit_cast<float>(pattern & 0x807FFFFFU); break;
      // Positive patterns are ordered as their values are.
      default: value = std::bit_cast<float>(sign | pattern % std::bit_cast<std::uint32_t>(largest));
    }
  }
  return values;
}

/// Bit patterns, so that -0 and NaN compare as what they are.
inline std::vector<std::uint32_t> patterns(const Floats& values) {
  std::vector<std::uint32_t> bits(values.size());
  if (!values.empty()) std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return bits;
}

/// As patterns(), with one pattern for all NaN: which one an addition gives is not defined.
inline std::vector<std::uint32_t> patterns_any_nan(Floats values) {
  for (float& value : values) {
    if (std::isnan(value)) value = std::numeric_limits<float>::quiet_NaN();
  }
  return patterns(values);
}

inline Bytes encode(const Codec& codec, const Encode& in, bool* finite = nullptr) {
  Bytes payload(codec.max_payload(in.count));
  const Encoded encoded = codec.encode(in, payload.data());
  payload.resize(encoded.bytes);
  if (finite != nullptr) *finite = encoded.finite;
  return payload;
}

inline Floats decode(const Codec& codec, const Bytes& payload, std::size_t count) {
  Floats out(count, std::numeric_limits<float>::quiet_NaN());
  codec.decode_assign(payload, out.data(), count);
  return out;
}

}  // namespace gradwire::compress
