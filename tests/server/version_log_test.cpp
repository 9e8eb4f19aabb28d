#include "server/version_log.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "server_calls.hpp"
#include "tests/support/normal_floats.hpp"

namespace gradwire::server {
namespace {

constexpr std::size_t kCount = 1000;

/// A value that wanders about, as in training.
class Wandering {
 public:
  [[nodiscard]] const Floats& value() const { return value_; }
  void step() {
    for (float& x : value_) x += normal_();
  }

 private:
  NormalFloats normal_{7};
  Floats value_ = Floats(kCount, 1.0F);
};

/// The estimate from that of `version` and the frames after it.
Floats followed(const VersionLog& log, Floats from, std::uint64_t version, const compress::Codec& codec) {
  const auto frames = log.since(version);
  EXPECT_TRUE(frames.has_value());
  for (const SealedFrame& frame : *frames) codec.decode_add(*frame, from.data(), from.size(), 1.0F);
  return from;
}

TEST(VersionLog, FramesLeadToTheEstimate) {
  for (const std::string spec : {"onebit", "onebit:block=65536", "bf16", "fp16"}) {
    const auto codec = compress::make_codec(spec);
    Wandering x;
    VersionLog log(codec, x.value(), 16);
    std::vector<Floats> versions{x.value()};
    for (std::uint64_t version = 1; version <= 40; ++version) {
      x.step();
      log.seal(x.value());
      const auto estimate = log.estimate(x.value());
      versions.emplace_back(estimate.begin(), estimate.end());
      EXPECT_EQ(log.version(), version);
      const std::uint64_t kept = codec->id() == compress::CodecId::onebit ? 16 : 2;
      for (std::uint64_t held = 0; held <= version; ++held) {
        if (version - held > kept) {
          EXPECT_FALSE(log.since(held).has_value()) << spec << ": " << held << " at " << version;
        } else {
          EXPECT_EQ(followed(log, versions[held], held, *codec), versions[version]) << spec;
        }
      }
      EXPECT_FALSE(log.since(version + 1).has_value());
    }
  }
}

TEST(VersionLog, KeepsNoMoreBytesThanTheValueHas) {
  const Floats value(8);
  VersionLog log(compress::make_codec("onebit"), value, 16);  // 5 bytes a frame, 32 of the value
  for (int i = 0; i < 10; ++i) log.seal(value);
  EXPECT_TRUE(log.since(4).has_value());
  EXPECT_FALSE(log.since(3).has_value());
  const Floats one(1);
  VersionLog tiny(compress::make_codec("onebit"), one, 16);
  tiny.seal(one);
  EXPECT_FALSE(tiny.since(0).has_value());
  EXPECT_TRUE(tiny.since(1)->empty());
}

TEST(VersionLog, WhatEncodingLostComesLater) {
  Wandering x;
  VersionLog log(compress::make_codec("onebit:block=64"), x.value(), 16);
  for (int i = 0; i < 5; ++i) {
    x.step();
    log.seal(x.value());
  }
  const auto distance = [&] {
    double sum = 0;
    const auto estimate = log.estimate(x.value());
    for (std::size_t i = 0; i < kCount; ++i) sum += std::fabs(estimate[i] - x.value()[i]);
    return sum / kCount;
  };
  const double before = distance();
  for (int i = 0; i < 30; ++i) log.seal(x.value());  // of a value that stands still
  EXPECT_LT(distance(), before / 10);
}

TEST(VersionLog, WithoutLossTheValueIsTheEstimate) {
  Floats value(kCount, 3.0F);
  VersionLog log(compress::make_codec("none"), value, 16);
  value[5] = 4;
  EXPECT_EQ(log.estimate(value).data(), value.data());
  log.seal(value);
  EXPECT_EQ(log.version(), 1U);
  EXPECT_TRUE(log.since(1)->empty());
  EXPECT_FALSE(log.since(0).has_value());
}

TEST(VersionLog, FramesOutliveTheirLog) {
  Wandering x;
  std::vector<SealedFrame> frames;
  {
    VersionLog log(compress::make_codec("onebit"), x.value(), 2);
    log.seal(x.value());
    frames = *log.since(0);
    for (int i = 0; i < 5; ++i) log.seal(x.value());
  }
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_TRUE(compress::make_codec("onebit")->valid(*frames[0], kCount));
}

TEST(VersionLog, IsWholeAgainAfterADifferenceThatNoCodecCanSumUp) {
  const auto codec = compress::make_codec("onebit");
  VersionLog log(codec, Floats(kCount), 16);
  Floats value(kCount, 3e38F);
  log.seal(value);
  const auto estimate = log.estimate(value);
  EXPECT_EQ(Floats(estimate.begin(), estimate.end()), value);
  EXPECT_FALSE(log.since(0).has_value()) << "no frame leads there";
  std::ranges::fill(value, 2.9999e38F);
  log.seal(value);
  EXPECT_TRUE(log.since(1).has_value());
}

}  // namespace
}  // namespace gradwire::server
