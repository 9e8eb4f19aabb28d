#include "collectives/layout.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collectives/resolve.hpp"
#include "gradwire/error.hpp"
#include "wire/header.hpp"

namespace gradwire::collectives {
namespace {

using Counts = std::vector<std::size_t>;

/// Everything that holds for any layout.
void check(const Layout& layout, const Counts& counts, const compress::Codec& codec, int chunks,
           std::size_t limit) {
  ASSERT_EQ(layout.chunk_segments.size(), static_cast<std::size_t>(chunks) + 1);
  EXPECT_EQ(layout.chunk_segments.front(), 0U);
  EXPECT_EQ(layout.chunk_segments.back(), layout.segments.size());

  std::size_t tensor = 0;
  std::size_t element = 0;
  const auto skip = [&] {
    while (tensor < counts.size() && element == counts[tensor]) {
      ++tensor;
      element = 0;
    }
  };
  for (const Piece& piece : layout.pieces) {
    skip();
    ASSERT_LT(tensor, counts.size());
    EXPECT_EQ(piece.tensor, tensor);
    EXPECT_EQ(piece.begin, element);
    EXPECT_GT(piece.count, 0U);
    EXPECT_EQ(piece.begin % codec.block(), 0U);
    element += piece.count;
    EXPECT_LE(element, counts[tensor]);
    EXPECT_TRUE(element % codec.block() == 0 || element == counts[tensor]);
  }
  skip();
  EXPECT_EQ(tensor, counts.size()) << "an element belongs to no piece";

  std::uint32_t next_piece = 0;
  for (std::size_t chunk = 0; chunk + 1 < layout.chunk_segments.size(); ++chunk) {
    for (auto s = layout.chunk_segments[chunk]; s < layout.chunk_segments[chunk + 1]; ++s) {
      const Segment& segment = layout.segments[s];
      EXPECT_EQ(segment.chunk, chunk);
      EXPECT_EQ(segment.index, s - layout.chunk_segments[chunk]);
      EXPECT_EQ(segment.piece_begin, next_piece);
      ASSERT_LT(segment.piece_begin, segment.piece_end);
      next_piece = segment.piece_end;
      std::size_t elements = 0;
      std::size_t bytes = 0;
      std::size_t largest_block = 0;
      for (auto p = segment.piece_begin; p < segment.piece_end; ++p) {
        const Piece& piece = layout.pieces[p];
        if (p > segment.piece_begin) {
          EXPECT_NE(piece.tensor, layout.pieces[p - 1].tensor) << "one tensor's part is one piece";
        }
        elements += piece.count;
        bytes += codec.max_payload(piece.count);
        largest_block = std::max(largest_block, codec.max_payload(std::min(piece.count, codec.block())));
      }
      EXPECT_EQ(segment.count, elements);
      EXPECT_EQ(segment.payload_bound, bytes);
      EXPECT_TRUE(bytes <= limit || bytes == largest_block) << bytes << " bytes, limit " << limit;
    }
  }
  EXPECT_EQ(next_piece, layout.pieces.size());

  // Each cut is at the block nearest to its ideal place, so a chunk is off by at most half a block at each
  // end.
  const double ideal = static_cast<double>(total_payload(counts, codec)) / chunks;
  const auto block = static_cast<double>(codec.max_payload(codec.block()));
  for (const std::size_t bytes : chunk_payloads(layout))
    EXPECT_NEAR(static_cast<double>(bytes), ideal, block + 1);
}

class Layouts : public ::testing::TestWithParam<const char*> {};

TEST_P(Layouts, CoverEveryElementOnceInBalance) {
  const auto codec = compress::make_codec(GetParam());
  const std::vector<Counts> sets = {{},
                                    {0},
                                    {1},
                                    {7},
                                    {0, 3, 0, 5},
                                    {256, 1, 0, 255, 257},
                                    {100'000},
                                    {12, 300'000},
                                    {784 * 512, 512, 512 * 512, 512, 5120, 10},
                                    Counts(500, 3)};
  for (const Counts& counts : sets) {
    for (const int chunks : {1, 2, 3, 8, 33}) {
      for (const std::size_t limit :
           {std::size_t{1}, std::size_t{300}, std::size_t{8192}, wire::kMaxPayload}) {
        SCOPED_TRACE(::testing::Message() << ::testing::PrintToString(counts.size() < 9 ? counts : Counts{})
                                          << chunks << " chunks, limit " << limit);
        check(make_layout(counts, *codec, chunks, limit), counts, *codec, chunks, limit);
      }
    }
  }
}

// Blocks, and with them scales and residuals, must not depend on how many ranks share the work.
TEST_P(Layouts, KeepBlocksWhateverTheNumberOfChunks) {
  const auto codec = compress::make_codec(GetParam());
  const Counts counts{10'000, 33, 70'001};
  for (int chunks = 1; chunks <= 33; ++chunks) {
    for (const Piece& piece : make_layout(counts, *codec, chunks, 1000).pieces) {
      EXPECT_EQ(piece.begin % codec->block(), 0U);
    }
  }
}

TEST_P(Layouts, SegmentsOfAChunkAreNearlyEqual) {
  const auto codec = compress::make_codec(GetParam());
  const std::size_t limit = 8192;
  const Counts counts{1'000'000};
  const Layout layout = make_layout(counts, *codec, 3, limit);
  const std::size_t block = codec->max_payload(codec->block());
  for (std::size_t chunk = 0; chunk < 3; ++chunk) {
    std::size_t least = limit;
    std::size_t most = 0;
    for (auto s = layout.chunk_segments[chunk]; s < layout.chunk_segments[chunk + 1]; ++s) {
      least = std::min(least, layout.segments[s].payload_bound);
      most = std::max(most, layout.segments[s].payload_bound);
    }
    EXPECT_LE(most - least, 3 * block);
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Layouts,
                         ::testing::Values("none", "fp16", "bf16", "onebit", "onebit:block=64,scale=l1",
                                           "onebit:block=4096"));

TEST(SegmentPayload, AimsAtFourSegmentsWithinBounds) {
  EXPECT_EQ(choose_segment_payload(0, 4), 8192U);
  EXPECT_EQ(choose_segment_payload(4096, 1), 8192U);
  EXPECT_EQ(choose_segment_payload(128 * 1024, 2), 16384U);
  EXPECT_EQ(choose_segment_payload(64U << 20U, 4), wire::kMaxPayload);
}

TEST(Resolve, ChoosesWhatItIsAskedFor) {
  const auto none = compress::make_codec("none");
  const std::array<std::size_t, 1> small{1024};
  const std::array<std::size_t, 1> large{1 << 22};
  EXPECT_EQ(resolve(Collective::allreduce, "auto", *none, small, 2).algorithm, Algorithm::one_shot);
  EXPECT_EQ(resolve(Collective::allreduce, "auto", *none, large, 2).algorithm, Algorithm::ring);
  EXPECT_EQ(resolve(Collective::allreduce, "auto", *compress::make_codec("onebit"), large, 4).algorithm,
            Algorithm::two_shot);
  EXPECT_EQ(resolve(Collective::allreduce, "tree", *none, small, 4).algorithm, Algorithm::tree);
  EXPECT_EQ(algorithm_name(Collective::allreduce, Algorithm::tree), "tree");

  const Resolved barrier = resolve(Collective::barrier, "auto", *none, {}, 4);
  EXPECT_EQ(algorithm_name(Collective::barrier, barrier.algorithm), "binomial");
  ASSERT_EQ(barrier.layout.segments.size(), 1U);
  EXPECT_EQ(barrier.layout.segments.front().count, 1U);
}

/// A codec whose one block outgrows a frame; nothing but its sizes is asked for.
class HugeBlocks : public compress::Codec {
 public:
  [[nodiscard]] compress::CodecId id() const noexcept override { return compress::CodecId::none; }
  [[nodiscard]] std::string spec() const override { return "huge"; }
  [[nodiscard]] std::size_t block() const noexcept override { return wire::kMaxPayload + 1; }
  [[nodiscard]] std::size_t max_payload(std::size_t count) const noexcept override { return count; }
  compress::Encoded encode(const compress::Encode& /*in*/, std::byte* /*payload*/) const override {
    return {};
  }
  [[nodiscard]] bool valid(std::span<const std::byte> /*payload*/,
                           std::size_t /*count*/) const noexcept override {
    return false;
  }
  void decode_assign(std::span<const std::byte> /*payload*/, float* /*out*/,
                     std::size_t /*count*/) const override {}
  void decode_add(std::span<const std::byte> /*payload*/, float* /*sum*/, std::size_t /*count*/,
                  float /*factor*/) const override {}
  compress::Encoded add_then_encode(std::span<const std::byte> /*payload*/, float /*factor*/,
                                    const compress::Encode& /*in*/, std::byte* /*out*/) const override {
    return {};
  }
};

TEST(Resolve, RefusesABlockThatNoFrameCarries) {
  const HugeBlocks codec;
  const std::array<std::size_t, 1> fits{wire::kMaxPayload};
  const std::array<std::size_t, 1> large{1 << 20};
  EXPECT_NO_THROW((void)resolve(Collective::allreduce, "ring", codec, fits, 2));
  try {
    (void)resolve(Collective::allreduce, "ring", codec, large, 2);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("use a smaller block"));
  }
}

}  // namespace
}  // namespace gradwire::collectives
