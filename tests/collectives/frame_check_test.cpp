#include "collectives/frame_check.hpp"

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

constexpr wire::Header kDue{.codec = 3,
                            .layer = 2,
                            .operation = 7,
                            .order_hash = 99,
                            .chunk = 4,
                            .segment = 1,
                            .sender = 5,
                            .count = 300};

/// The code of the error that names rank 5, or nothing.
std::optional<ErrorCode> code_of(const std::function<void()>& check) {
  try {
    check();
  } catch (const Error& error) {
    EXPECT_EQ(error.peer(), 5);
    return error.code();
  }
  return std::nullopt;
}

std::optional<ErrorCode> refusal(const std::function<void(wire::Header&)>& change) {
  wire::Header header = kDue;
  change(header);
  return code_of([&] { check_header(header, kDue, 0, *compress::make_codec("onebit")); });
}

TEST(HeaderCheck, TakesWhatIsDue) {
  EXPECT_EQ(refusal([](wire::Header& /*header*/) {}), std::nullopt);
  EXPECT_EQ(refusal([](wire::Header& header) { header.flags = wire::kFlagNonFinite; }), std::nullopt);
}

TEST(HeaderCheck, RefusesAnotherOperation) {
  EXPECT_EQ(refusal([](wire::Header& header) { ++header.operation; }), ErrorCode::order_mismatch);
  EXPECT_EQ(refusal([](wire::Header& header) { ++header.order_hash; }), ErrorCode::order_mismatch);
}

TEST(HeaderCheck, RefusesAMessage) {
  EXPECT_EQ(refusal([](wire::Header& header) { header.kind = wire::FrameKind::message; }),
            ErrorCode::corrupt_frame);
  // Whatever operation it may name.
  EXPECT_EQ(refusal([](wire::Header& header) {
              header.kind = wire::FrameKind::message;
              ++header.operation;
            }),
            ErrorCode::corrupt_frame);
}

TEST(HeaderCheck, RefusesAnotherFrameOfTheOperation) {
  constexpr auto kHuge = std::numeric_limits<std::uint32_t>::max();
  EXPECT_EQ(refusal([](wire::Header& header) { ++header.codec; }), ErrorCode::corrupt_frame);
  EXPECT_EQ(refusal([](wire::Header& header) { ++header.layer; }), ErrorCode::corrupt_frame);
  EXPECT_EQ(refusal([](wire::Header& header) { ++header.sender; }), ErrorCode::corrupt_frame);
  for (const std::uint32_t wrong : {std::uint32_t{0}, std::uint32_t{5}, kHuge}) {
    EXPECT_EQ(refusal([=](wire::Header& header) { header.chunk = wrong; }), ErrorCode::corrupt_frame);
    EXPECT_EQ(refusal([=](wire::Header& header) { header.segment = wrong; }), ErrorCode::corrupt_frame);
    EXPECT_EQ(refusal([=](wire::Header& header) { header.count = wrong; }), ErrorCode::corrupt_frame);
  }
}

TEST(PayloadCheck, TakesNoOtherSizeThanItsPieces) {
  const std::vector<std::vector<Piece>> sets{{{.count = 300}}, {{.count = 256}, {.tensor = 2, .count = 44}}};
  for (const char* spec : {"none", "fp16", "onebit", "onebit:block=64,scale=l2"}) {
    const auto codec = compress::make_codec(spec);
    for (const auto& pieces : sets) {
      std::size_t right = 0;
      for (const Piece& piece : pieces) right += codec->max_payload(piece.count);
      for (std::size_t bytes = 0; bytes < 2 * right; ++bytes) {
        const std::vector<std::byte> payload(bytes);
        const auto code = code_of([&] { check_payload(payload, pieces, *codec, 5); });
        EXPECT_EQ(code, bytes == right ? std::nullopt : std::optional(ErrorCode::corrupt_frame))
            << spec << " " << bytes;
      }
    }
  }
}

TEST(PayloadCheck, LooksIntoEveryPiece) {
  const auto codec = compress::make_codec("onebit");
  const std::vector<Piece> pieces{{.count = 3}, {.tensor = 1, .count = 3}};
  const std::size_t bytes = codec->max_payload(3);
  for (const std::size_t at : {bytes - 1, 2 * bytes - 1}) {
    std::vector<std::byte> payload(2 * bytes);
    EXPECT_EQ(code_of([&] { check_payload(payload, pieces, *codec, 5); }), std::nullopt);
    payload[at] = std::byte{8};  // of three elements, the fourth bit is unused
    EXPECT_EQ(code_of([&] { check_payload(payload, pieces, *codec, 5); }), ErrorCode::corrupt_frame);
  }
}

}  // namespace
}  // namespace gradwire::collectives
