#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

#include "codec_test_data.hpp"

namespace gradwire::compress {

/// Floats at any offset from a cache line, so that loads and streaming stores meet every alignment.
class Shifted {
 public:
  Shifted(const Floats& values, std::size_t shift) : storage_(values.size() + 32), count_(values.size()) {
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    start_ = (64 - address % 64) % 64 / sizeof(float) + shift;
    std::copy(values.begin(), values.end(), data());
  }
  float* data() { return storage_.data() + start_; }
  Floats copy() { return {data(), data() + count_}; }

 private:
  Floats storage_;
  std::size_t count_;
  std::size_t start_ = 0;
};

struct Outcome {
  Bytes payload;
  Floats residual;
  bool finite = true;
  bool operator==(const Outcome& other) const {
    return payload == other.payload && patterns(residual) == patterns(other.residual) &&
           finite == other.finite;
  }
};

enum class Mode { no_feedback, from_nothing, in_place, shadow };

struct Work {
  Floats value;
  Floats residual;
  float scale = 1;
  Bytes addend;  ///< empty: encode alone
  std::size_t shift = 0;
};

/// float32 values in bytes, every NaN the same one.
inline Bytes with_one_nan(const Bytes& payload) {
  Floats values(payload.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), payload.data(), payload.size());
  const auto same = patterns_any_nan(values);
  Bytes bytes(payload.size());
  if (!bytes.empty()) std::memcpy(bytes.data(), same.data(), bytes.size());
  return bytes;
}

inline Outcome run(const Codec& codec, const Work& work, Mode mode) {
  Shifted value(work.value, work.shift);
  Shifted residual(work.residual, work.shift);
  Shifted shadow(Floats(work.value.size(), -7.0F), work.shift);
  Encode in{value.data(), nullptr, nullptr, work.value.size(), work.scale};
  if (mode == Mode::in_place || mode == Mode::shadow) in.residual = residual.data();
  if (mode == Mode::in_place) in.residual_out = residual.data();
  if (mode == Mode::shadow || mode == Mode::from_nothing) in.residual_out = shadow.data();

  // The payload sits at an odd address, with guard bytes on both sides.
  const std::byte guard{0xA5};
  Bytes buffer(codec.max_payload(in.count) + 18, guard);
  std::byte* payload = buffer.data() + 9;
  const Encoded encoded = work.addend.empty()
                              ? codec.encode(in, payload)
                              : codec.add_then_encode(work.addend, 1.0F / work.scale, in, payload);
  EXPECT_TRUE(std::all_of(buffer.begin(), buffer.begin() + 9, [&](std::byte b) { return b == guard; }));
  EXPECT_TRUE(std::all_of(buffer.begin() + 9 + static_cast<std::ptrdiff_t>(encoded.bytes), buffer.end(),
                          [&](std::byte b) { return b == guard; }));
  Outcome outcome;
  outcome.payload.assign(payload, payload + encoded.bytes);
  // Which NaN a sum is is not defined; the other codecs send one pattern for all.
  if (codec.identity()) outcome.payload = with_one_nan(outcome.payload);
  outcome.residual = mode == Mode::in_place ? residual.copy() : shadow.copy();
  outcome.finite = encoded.finite;
  return outcome;
}

}  // namespace gradwire::compress
