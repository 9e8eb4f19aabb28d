#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/checksum.hpp"
#include "transport/tcp/inbox.hpp"
#include "transport/tcp/mirrored_buffer.hpp"
#include "transport/tcp/outbox.hpp"

// What a TCP connection does with bytes, without one.

namespace gradwire::transport {
namespace {

constexpr std::size_t kCapacity = 2 * (wire::kHeaderBytes + wire::kMaxPayload);

std::vector<std::byte> random_bytes(std::size_t size, std::mt19937& random) {
  std::vector<std::byte> bytes(size);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

wire::Header data_header(std::span<const std::byte> payload, std::uint32_t number) {
  wire::Header header;
  header.operation = number;
  header.payload_bytes = static_cast<std::uint32_t>(payload.size());
  header.flags = wire::kFlagPayloadCrc;
  header.payload_crc = base::crc32c(payload);
  return header;
}

TEST(MirroredBuffer, WrapsWithoutASeam) {
  MirroredBuffer buffer(10000);
  std::mt19937 random(1);
  std::vector<std::byte> expected;
  for (int i = 0; i < 3000; ++i) {
    const auto added = random_bytes(random() % (buffer.space().size() + 1), random);
    std::ranges::copy(added, buffer.space().begin());
    buffer.filled(added.size());
    expected.insert(expected.end(), added.begin(), added.end());
    ASSERT_TRUE(std::ranges::equal(buffer.data(), expected));
    const std::size_t used = random() % (expected.size() + 1);
    buffer.consumed(used);
    expected.erase(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(used));
  }
}

/// Frames through an outbox, cut into random pieces, into an inbox.
TEST(Stream, OutboxToInboxInRandomPieces) {
  constexpr std::uint32_t kFrames = 2000;
  std::mt19937 random(2);
  Outbox outbox;
  Inbox inbox(1, 6, Inbox::Carries::data, kCapacity);
  std::vector<std::vector<std::byte>> payloads;
  std::uint32_t pushed = 0;
  std::uint32_t taken = 0;
  while (taken < kFrames) {
    if (pushed < kFrames && !outbox.is_full() && random() % 2 == 0) {
      const std::size_t size = random() % 20 == 0 ? random() % (wire::kMaxPayload + 1) : random() % 500;
      payloads.push_back(random_bytes(size, random));
      outbox.push(data_header(payloads.back(), pushed), payloads.back());
      ++pushed;
    }
    std::array<iovec, 5> parts;
    const std::size_t most = std::min<std::size_t>(inbox.space().size(), 1 + random() % 40000);
    const std::size_t count = outbox.gather(parts, most);
    std::size_t moved = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::span<const std::byte> part(static_cast<const std::byte*>(parts[i].iov_base),
                                            parts[i].iov_len);
      std::ranges::copy(part, inbox.space().begin());
      inbox.filled(part.size());
      moved += part.size();
    }
    ASSERT_LE(moved, most);
    outbox.sent(moved);
    while (random() % 3 != 0) {
      const Frame* frame = inbox.front();
      if (frame == nullptr) break;
      ASSERT_EQ(frame->header.operation, taken);
      ASSERT_TRUE(std::ranges::equal(frame->payload, payloads[taken]));
      inbox.pop();
      ++taken;
    }
    ASSERT_GE(outbox.completed(), taken);
    ASSERT_LE(outbox.completed(), pushed);
  }
  EXPECT_TRUE(outbox.is_empty());
  EXPECT_EQ(outbox.bytes(), 0U);
  EXPECT_FALSE(inbox.in_frame());
}

TEST(Outbox, EndsAlwaysHaveAPlace) {
  Outbox outbox;
  while (!outbox.is_full()) outbox.push({}, {});
  wire::Header goodbye;
  goodbye.kind = wire::FrameKind::goodbye;
  outbox.push(goodbye, {});
  EXPECT_EQ(outbox.bytes(), (Outbox::kFrames + 1) * wire::kHeaderBytes);
  outbox.sent(outbox.bytes());
  EXPECT_EQ(outbox.completed(), Outbox::kFrames + 1);
}

TEST(Outbox, DroppedFramesAreCompleted) {
  const std::vector<std::byte> payload(100);
  Outbox outbox;
  for (int i = 0; i < 5; ++i) outbox.push({}, payload);
  outbox.sent(200);
  outbox.drop_all();
  EXPECT_EQ(outbox.completed(), 5U);
  EXPECT_TRUE(outbox.is_empty());
  EXPECT_EQ(outbox.bytes(), 0U);
}

void feed(Inbox& inbox, const wire::Header& header) {
  wire::HeaderBytes bytes;
  wire::write_header(header, bytes);
  std::ranges::copy(bytes, inbox.space().begin());
  inbox.filled(bytes.size());
}

wire::Header abort_header(std::uint32_t origin, std::uint32_t code) {
  wire::Header abort;
  abort.kind = wire::FrameKind::abort;
  abort.chunk = origin;
  abort.segment = code;
  return abort;
}

TEST(Inbox, MessagesAreGivenOutLikeData) {
  Inbox inbox(1, 6, Inbox::Carries::data, kCapacity);
  wire::Header message = data_header({}, 1);
  message.kind = wire::FrameKind::message;
  feed(inbox, message);
  ASSERT_NE(inbox.front(), nullptr);
  EXPECT_EQ(inbox.front()->header.kind, wire::FrameKind::message);

  Inbox control(1, 6, Inbox::Carries::end, kCapacity);
  feed(control, message);
  EXPECT_EQ(control.end().kind, LinkEnd::Kind::garbage);
}

TEST(Inbox, TheEndIsKnownWhileDataWaits) {
  Inbox inbox(1, 6, Inbox::Carries::data, kCapacity);
  feed(inbox, data_header({}, 1));
  wire::Header goodbye;
  goodbye.kind = wire::FrameKind::goodbye;
  feed(inbox, goodbye);
  EXPECT_EQ(inbox.end().kind, LinkEnd::Kind::goodbye);
  ASSERT_NE(inbox.front(), nullptr);
  EXPECT_EQ(inbox.front()->header.operation, 1U);
  inbox.pop();
  EXPECT_EQ(inbox.front(), nullptr);
}

TEST(Inbox, AnAbortSaysWhomItBlames) {
  Inbox inbox(1, 6, Inbox::Carries::end, kCapacity);
  feed(inbox, abort_header(5, static_cast<std::uint32_t>(ErrorCode::non_finite)));
  EXPECT_EQ(inbox.end().kind, LinkEnd::Kind::abort);
  EXPECT_EQ(inbox.end().origin, 5);
  EXPECT_EQ(inbox.end().code, ErrorCode::non_finite);
}

TEST(Inbox, AnUnknownCodeInAnAbortIsALoss) {
  Inbox inbox(1, 6, Inbox::Carries::end, kCapacity);
  feed(inbox, abort_header(0, 12345));
  EXPECT_EQ(inbox.end().kind, LinkEnd::Kind::abort);
  EXPECT_EQ(inbox.end().code, ErrorCode::peer_lost);
}

TEST(Inbox, FramesOnTheWrongConnectionAreGarbage) {
  const auto refusal = [](Inbox::Carries carries, const wire::Header& header) {
    Inbox inbox(1, 6, carries, kCapacity);
    feed(inbox, header);
    EXPECT_EQ(inbox.end().kind, LinkEnd::Kind::garbage);
    EXPECT_EQ(inbox.front(), nullptr);
    const Error error = inbox.end().to_error(1);
    EXPECT_EQ(error.code(), ErrorCode::corrupt_frame);
    EXPECT_EQ(error.peer(), 1);
    return std::string(error.what());
  };
  EXPECT_THAT(refusal(Inbox::Carries::end, data_header({}, 1)), testing::HasSubstr("data on the connection"));
  EXPECT_THAT(refusal(Inbox::Carries::data, abort_header(0, 40)), testing::HasSubstr("an abort on"));
  EXPECT_THAT(refusal(Inbox::Carries::end, abort_header(6, 40)), testing::HasSubstr("blames rank 6 of 6"));
  EXPECT_THAT(refusal(Inbox::Carries::end, abort_header(0xFFFFFFFF, 40)), testing::HasSubstr("blames rank"));
}

TEST(Inbox, TellsWhatIsMissing) {
  Inbox inbox(1, 6, Inbox::Carries::data, kCapacity);
  EXPECT_EQ(inbox.missing(), wire::kHeaderBytes);
  EXPECT_FALSE(inbox.in_frame());
  feed(inbox, data_header(std::vector<std::byte>(1000), 0));
  EXPECT_EQ(inbox.missing(), 1000U);
  EXPECT_TRUE(inbox.in_frame());
  EXPECT_EQ(inbox.front(), nullptr);
  inbox.filled(999);
  EXPECT_EQ(inbox.missing(), 1U);
}

}  // namespace
}  // namespace gradwire::transport
