// What of the device codecs needs no device.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cfenv>
#include <utility>
#include <vector>

#include "compress/cuda/device_codec.hpp"
#include "compress/cuda/launch_shape.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

using testing::HasSubstr;

Array floats_at(std::uintptr_t address) { return {address, 4}; }
Array halves_at(std::uintptr_t address) { return {address, 2}; }

/// How often each element comes up, as the kernel numbers the parts of a cut.
std::vector<int> visits(const Cut& cut, std::size_t count) {
  std::vector<int> seen(count, 0);
  for (std::size_t part = 0; part < cut.parts(); ++part) {
    if (part < cut.quads) {
      for (std::size_t c = 0; c < 4; ++c) ++seen.at(cut.head + 4 * part + c);
    } else {
      const std::size_t single = part - cut.quads;
      ++seen.at(single < cut.head ? single : part + 3 * cut.quads);
    }
  }
  return seen;
}

TEST(Cut, TakesEachElementOnce) {
  for (std::size_t count = 0; count < 40; ++count) {
    for (std::uintptr_t shift = 0; shift < 4; ++shift) {
      const Cut cut = cut_arrays(count, {floats_at(4096 + 4 * shift)});
      EXPECT_EQ(visits(cut, count), std::vector<int>(count, 1)) << count << " elements, shift " << shift;
      EXPECT_EQ(visits(cut_from_start(count, floats_at(4096 + 4 * shift)), count),
                std::vector<int>(count, 1));
    }
  }
}

TEST(Cut, PeelsUntilAllArraysAreAligned) {
  const Cut aligned = cut_arrays(100, {floats_at(4096), halves_at(8192)});
  EXPECT_EQ(aligned.head, 0U);
  EXPECT_EQ(aligned.quads, 25U);

  // One float further on is one half further on.
  const Cut shifted = cut_arrays(100, {floats_at(4100), floats_at(4100), halves_at(8194)});
  EXPECT_EQ(shifted.head, 3U);
  EXPECT_EQ(shifted.quads, 24U);
  EXPECT_EQ(shifted.singles, 4U);
}

TEST(Cut, TakesSinglesWhereNoHeadAlignsAll) {
  for (const Array& other : {floats_at(4104), halves_at(8193), halves_at(8192)}) {
    const Cut cut = cut_arrays(100, {floats_at(4100), other});
    EXPECT_EQ(cut.quads, 0U);
    EXPECT_EQ(cut.singles, 100U);
  }
  EXPECT_EQ(cut_from_start(100, floats_at(4100)).quads, 0U);
}

TEST(Cut, IgnoresArraysThatAreNotThere) {
  const float* none = nullptr;
  EXPECT_EQ(cut_arrays(8, {array_of(none), floats_at(4096)}).quads, 2U);
}

TEST(EachGrid, HasAThreadForEveryPart) {
  EXPECT_EQ(each_grid({}, 4).blocks, 0U);
  EXPECT_EQ(each_grid({0, 0, 1}, 4).blocks, 1U);
  EXPECT_EQ(each_grid({0, 1024, 0}, 4).blocks, 1U);
  EXPECT_EQ(each_grid({0, 1024, 1}, 4).blocks, 2U);
  // 16 GB of float32.
  EXPECT_EQ(each_grid({0, std::size_t{1} << 30U, 0}, 4).blocks, 1U << 20U);
}

TEST(OnebitTiles, AreWholeBlocksOfEverySize) {
  for (std::size_t block = 16; block <= 65536; block *= 2) {
    for (const bool aligned : {true, false}) {
      const OnebitTiles tiles = onebit_tiles(block, aligned);
      EXPECT_EQ(tiles.elements % block, 0U);
      EXPECT_EQ(tiles.elements % kWarpLanes, 0U);
      if (tiles.quads > 0) {
        EXPECT_EQ(tiles.elements, tiles.quads * kWarpQuads);
        EXPECT_TRUE(std::has_single_bit(tiles.quads));
      }
    }
    EXPECT_EQ(onebit_tiles(block, false).quads, 0U);
    EXPECT_EQ(onebit_tiles(block, true).quads > 0, block <= 1024) << block;
  }
  EXPECT_EQ(onebit_tiles(256, true).quads, 2U);
}

TEST(OnebitGrid, HasAWarpForEveryTile) {
  for (const std::size_t block : {16, 256, 1024, 65536}) {
    for (const bool aligned : {true, false}) {
      const OnebitTiles tiles = onebit_tiles(block, aligned);
      EXPECT_EQ(onebit_grid(0, tiles).blocks, 0U);
      for (const std::size_t count : {std::size_t{1}, block - 1, block, block + 1, 100 * block + 7}) {
        const Grid grid = onebit_grid(count, tiles);
        const std::size_t warps = std::size_t{grid.blocks} * (grid.threads / kWarpLanes);
        EXPECT_GE(warps * tiles.elements, count);
        EXPECT_LT((warps - grid.threads / kWarpLanes) * tiles.elements, count);
        EXPECT_LE(grid.threads, 128U);
      }
    }
  }
}

ErrorCode code_of_making(const char* spec) {
  try {
    make_device_codec(spec);
  } catch (const Error& error) {
    return error.code();
  }
  return {};
}

TEST(DeviceCodec, RefusesTheStringsThatTheHostRefuses) {
  for (const char* spec : {"", "twobit", "none:block=3", "onebit:block=17", "onebit:scale=max", "fp16:x"}) {
    EXPECT_EQ(code_of_making(spec), ErrorCode::invalid_argument) << spec;
  }
}

TEST(DeviceCodec, SaysWhyThereIsNoDevice) {
  const std::string reason = why_no_device();
  if (reason.empty()) GTEST_SKIP() << "there is one: " << describe_device();
  EXPECT_THAT(describe_device(), testing::Not(testing::IsEmpty()));
  for (const char* spec : {"none", "fp16", "bf16", "onebit", "onebit:block=64,scale=l2"}) {
    EXPECT_EQ(code_of_making(spec), ErrorCode::unsupported) << spec;
  }
  try {
    require_device("a test");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr(reason));
  }
  EXPECT_THROW(allocate_device(16), Error);
  EXPECT_THROW(allocate_pinned(16), Error);
  EXPECT_THROW(OwnStream(), Error);
  EXPECT_THROW(Event(), Error);
  EXPECT_THROW(TimedEvent(), Error);
  EXPECT_THROW(NonFiniteFlag(), Error);
}

class NoKernels final : public DeviceCodec {
 public:
  explicit NoKernels(const char* spec) : DeviceCodec(make_codec(spec)) {}

  /// What kernels would be given as 1 / scale.
  mutable float inverse = 0;

 private:
  void load_kernels() const override {}
  void encode_sum(const Encode& in, const Addend& /*addend*/, std::byte* /*payload*/,
                  const Launch& /*launch*/) const override {
    inverse = 1.0F / in.scale;
  }
  void assign(const std::byte* /*payload*/, float* /*out*/, std::size_t /*count*/,
              Stream /*stream*/) const override {}
  void add(const std::byte* /*payload*/, float* /*sum*/, std::size_t /*count*/, float /*factor*/,
           Stream /*stream*/) const override {}
};

TEST(DeviceCodec, WantsAFlagWhereEncodingLooks) {
  const Encode in;
  std::uint32_t word = 0;
  for (const char* spec : {"onebit", "fp16", "bf16"}) {
    const NoKernels codec(spec);
    EXPECT_THROW(codec.encode(in, nullptr, {}), Error) << spec;
    EXPECT_THROW(codec.add_then_encode(nullptr, 1.0F, in, nullptr, {}), Error) << spec;
    EXPECT_NO_THROW(codec.encode(in, nullptr, {nullptr, &word})) << spec;
  }
  EXPECT_NO_THROW(NoKernels("none").encode(in, nullptr, {}));
  EXPECT_THROW(finish_sum_on_device(in, nullptr, true, {}), Error);
  EXPECT_NO_THROW(finish_sum_on_device(in, nullptr, false, {}));
  EXPECT_EQ(NoKernels("onebit:block=64").host().spec(), "onebit:block=64");
}

TEST(DeviceCodec, RoundsToNearestWhateverTheCallerDoes) {
  const NoKernels codec("none");
  const Encode in{nullptr, nullptr, nullptr, 1, 1.0F / 3.0F};
  codec.encode(in, nullptr, {});
  const float nearest = codec.inverse;
  for (const int mode : {FE_DOWNWARD, FE_UPWARD}) {
    std::fesetround(mode);
    codec.encode(in, nullptr, {});
    const float encoded = std::exchange(codec.inverse, 0.0F);
    codec.add_then_encode(nullptr, 1.0F, in, nullptr, {});
    EXPECT_EQ(std::fegetround(), mode);
    std::fesetround(FE_TONEAREST);
    EXPECT_EQ(encoded, nearest);
    EXPECT_EQ(codec.inverse, nearest);
  }
}

}  // namespace
}  // namespace gradwire::compress
