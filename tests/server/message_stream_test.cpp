#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compress/codec.hpp"
#include "gradwire/error.hpp"
#include "server/incoming_messages.hpp"
#include "server/outgoing_messages.hpp"
#include "tests/support/normal_floats.hpp"

namespace gradwire::server {
namespace {

using Bytes = std::vector<std::byte>;

/// A link to itself that takes a few frames, and lets go of payloads when the test says so.
class Loop final : public transport::Link {
 public:
  bool try_send(const wire::Header& header, std::span<const std::byte> payload) override {
    if (frames_.size() >= capacity) return false;
    EXPECT_LE(payload.size(), wire::kMaxPayload);
    frames_.push_back({header, {payload.begin(), payload.end()}});
    frames_.back().header.payload_bytes = static_cast<std::uint32_t>(payload.size());
    frames_.back().header.flags |= wire::kFlagPayloadCrc;
    frames_.back().header.payload_crc = 0x12345678;
    ++accepted;
    return true;
  }
  [[nodiscard]] std::uint64_t completed() const noexcept override { return completed_frames; }
  const transport::Frame* front() override {
    if (frames_.empty()) return nullptr;
    front_ = {frames_.front().header, frames_.front().payload};
    return &front_;
  }
  void pop() override { frames_.pop_front(); }
  [[nodiscard]] std::uint64_t wire_bytes_sent() const noexcept override { return 0; }
  [[nodiscard]] const char* kind() const noexcept override { return "loop"; }

  struct Sent {
    wire::Header header;
    Bytes payload;
  };
  std::deque<Sent>& frames() { return frames_; }

  std::size_t capacity = 1'000'000;
  std::uint64_t accepted = 0;
  std::uint64_t completed_frames = 0;

 private:
  std::deque<Sent> frames_;
  transport::Frame front_;
};

Bytes encoded(const compress::Codec& codec, std::uint64_t count, unsigned seed) {
  const std::vector<float> values = normal_floats(count, seed);
  Bytes payload(codec.max_payload(count));
  codec.encode({.value = values.data(), .count = count}, payload.data());
  return payload;
}

/// A pull's answer with `payloads` sealed versions of `count` elements.
struct Sealed {
  std::shared_ptr<const compress::Codec> codec;
  std::vector<Bytes> payloads;
  Body body;

  Sealed(const char* spec, std::uint64_t count, std::uint32_t versions) : codec(compress::make_codec(spec)) {
    for (std::uint32_t i = 0; i < versions; ++i) payloads.push_back(encoded(*codec, count, i));
    body = {codec.get(), 17, count, versions};
  }
  [[nodiscard]] Outgoing outgoing() const {
    Outgoing message{write_answer(Pulled{.request = 0x100000005, .version = 3, .sealed = body.payloads}),
                     body};
    for (const Bytes& payload : payloads) message.payloads.emplace_back(payload);
    return message;
  }
  [[nodiscard]] Bytes all() const {
    Bytes bytes;
    for (const Bytes& payload : payloads) bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
  }
};

class MessageStream : public testing::TestWithParam<const char*> {};

TEST_P(MessageStream, BodiesOfAllSizesArriveWhole) {
  const std::size_t block = compress::make_codec(GetParam())->block();
  for (const std::uint64_t count : {std::uint64_t{0}, std::uint64_t{1}, block - 1, block, block + 1,
                                    std::uint64_t{16'384}, std::uint64_t{16'385}, std::uint64_t{1'000'003}}) {
    for (const std::uint32_t versions : {0U, 1U, 3U}) {
      const Sealed sealed(GetParam(), count, versions);
      OutgoingMessages out(Side::server);
      IncomingMessages in(Side::server, "server 1");
      Loop link;
      link.capacity = 3;
      out.add(sealed.outgoing());
      out.add({write_answer(Accepted{9})});
      Bytes arrived(sealed.all().size());
      std::optional<Answer> first;
      std::optional<Answer> second;
      for (int turn = 0; !second && turn < 1000; ++turn) {
        out.pump(link);
        link.completed_frames = link.accepted;
        if (!first) {
          first = in.take_answer(link);
          if (first) in.expect(sealed.body);
        }
        if (first && in.take_into(link, arrived)) second = in.take_answer(link);
      }
      ASSERT_TRUE(second) << count << " x " << versions;
      EXPECT_EQ(std::get<Pulled>(*first).sealed, versions);
      EXPECT_EQ(std::get<Accepted>(*second).sequence, 9U);
      EXPECT_EQ(arrived, sealed.all());
      EXPECT_TRUE(out.pump(link));
      EXPECT_EQ(out.size(), 0U);
    }
  }
}

TEST_P(MessageStream, PartsDecodeToTheWhole) {
  constexpr std::uint64_t kCount = 1'000'003;
  const Sealed sealed(GetParam(), kCount, 2);
  OutgoingMessages out(Side::server);
  IncomingMessages in(Side::server, "server 1");
  Loop link;
  out.add(sealed.outgoing());
  EXPECT_TRUE(out.pump(link));
  ASSERT_TRUE(in.take_answer(link));
  in.expect(sealed.body);
  std::vector<float> sum(kCount);
  while (!in.is_whole()) {
    const auto part = in.front(link);
    ASSERT_TRUE(part);
    EXPECT_EQ(part->first % sealed.codec->block(), 0U);
    sealed.codec->decode_add(part->bytes, sum.data() + part->first, part->count, 1.0F);
    in.pop(link);
  }
  std::vector<float> expected(kCount);
  for (const Bytes& payload : sealed.payloads)
    sealed.codec->decode_add(payload, expected.data(), kCount, 1.0F);
  EXPECT_EQ(sum, expected);
}

INSTANTIATE_TEST_SUITE_P(Codecs, MessageStream,
                         testing::Values("none", "fp16", "bf16", "onebit", "onebit:block=16",
                                         "onebit:block=1024"));

TEST(OutgoingMessages, FillFramesWithWholeBlocks) {
  const Sealed sealed("none", 40'000, 2);
  OutgoingMessages out(Side::server);
  Loop link;
  out.add(sealed.outgoing());
  EXPECT_TRUE(out.pump(link));
  std::vector<std::uint32_t> counts;
  for (std::uint32_t i = 1; i < link.frames().size(); ++i) {
    const wire::Header& header = link.frames()[i].header;
    counts.push_back(header.count);
    EXPECT_EQ(header.kind, wire::FrameKind::data);
    EXPECT_EQ(header.operation, 5U) << "the low bits of the number";
    EXPECT_EQ(header.chunk, 17U);
    EXPECT_EQ(header.segment, i - 1);
    EXPECT_EQ(header.sender, 1U);
  }
  EXPECT_EQ(counts, (std::vector<std::uint32_t>{16'384, 16'384, 7'232, 16'384, 16'384, 7'232}));
  EXPECT_EQ(link.frames()[0].header.kind, wire::FrameKind::message);
  EXPECT_EQ(link.frames()[0].header.operation, 5U);
}

TEST(OutgoingMessages, KeepWhatIsLentUntilTheLinkIsDoneWithIt) {
  const Sealed sealed("none", 40'000, 1);
  auto owner = std::make_shared<int>(1);
  const std::weak_ptr<int> alive = owner;
  OutgoingMessages out(Side::server);
  Loop link;
  Outgoing message = sealed.outgoing();
  message.owner = std::move(owner);
  out.add(std::move(message));
  out.add({write_answer(Accepted{1})});

  link.capacity = 2;
  EXPECT_FALSE(out.pump(link));
  link.completed_frames = 2;
  EXPECT_FALSE(out.pump(link));
  EXPECT_FALSE(alive.expired()) << "half of it is still to be sent";
  link.capacity = 100;
  EXPECT_TRUE(out.pump(link));
  EXPECT_EQ(link.accepted, 5U);
  link.completed_frames = 3;
  EXPECT_TRUE(out.pump(link));
  EXPECT_FALSE(alive.expired()) << "its last frame is still being sent";
  EXPECT_EQ(out.size(), 2U);
  link.completed_frames = 4;
  EXPECT_TRUE(out.pump(link));
  EXPECT_TRUE(alive.expired());
  EXPECT_EQ(out.size(), 1U);
  link.completed_frames = 5;
  EXPECT_TRUE(out.pump(link));
  EXPECT_EQ(out.size(), 0U);
}

/// Sends a push of three frames, changes what is on the wire, and takes it; the error's code, if any.
std::optional<ErrorCode> refusal(const std::function<void(std::deque<Loop::Sent>&)>& change) {
  const Sealed sealed("onebit", 1'000'003, 1);
  OutgoingMessages out(Side::worker);
  IncomingMessages in(Side::worker, "worker 3");
  Loop link;
  out.add({write_request(Push{.sequence = 6, .shard = 17}), sealed.body, {sealed.payloads[0]}});
  EXPECT_TRUE(out.pump(link));
  change(link.frames());
  try {
    const auto head = in.take_request(link);
    EXPECT_TRUE(head && std::holds_alternative<Push>(*head));
    in.expect(sealed.body);
    Bytes arrived(sealed.payloads[0].size());
    EXPECT_TRUE(in.take_into(link, arrived));
    EXPECT_EQ(arrived, sealed.payloads[0]);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("worker 3 sent"), std::string::npos) << error.what();
    return error.code();
  }
  return std::nullopt;
}

TEST(IncomingMessages, RefuseEveryHeaderThatIsNotDue) {
  EXPECT_EQ(refusal([](auto& /*frames*/) {}), std::nullopt);
  const std::vector<std::function<void(wire::Header&)>> changes{
      [](wire::Header& header) { ++header.codec; },
      [](wire::Header& header) { ++header.dtype; },
      [](wire::Header& header) { header.flags |= wire::kFlagNonFinite; },
      [](wire::Header& header) { ++header.layer; },
      [](wire::Header& header) { ++header.communicator; },
      [](wire::Header& header) { ++header.operation; },
      [](wire::Header& header) { ++header.order_hash; },
      [](wire::Header& header) { ++header.chunk; },
      [](wire::Header& header) { ++header.segment; },
      [](wire::Header& header) { ++header.sender; },
      [](wire::Header& header) { ++header.count; },
      [](wire::Header& header) {
        header.kind = header.kind == wire::FrameKind::data ? wire::FrameKind::message : wire::FrameKind::data;
      },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    for (const std::size_t frame : {0U, 1U, 3U}) {
      EXPECT_EQ(refusal([&](auto& frames) { changes[i](frames.at(frame).header); }), ErrorCode::corrupt_frame)
          << "change " << i << " of frame " << frame;
    }
  }
}

TEST(IncomingMessages, RefuseWrongPayloadsAndOrders) {
  EXPECT_EQ(refusal([](auto& frames) { frames[1].payload.pop_back(); }), ErrorCode::corrupt_frame);
  EXPECT_EQ(refusal([](auto& frames) { frames[3].payload.push_back(std::byte{0}); }),
            ErrorCode::corrupt_frame);
  EXPECT_EQ(refusal([](auto& frames) { frames[3].payload.back() = std::byte{0xFF}; }),
            ErrorCode::corrupt_frame)
      << "bits that are not in use";
  EXPECT_EQ(refusal([](auto& frames) { std::swap(frames[1], frames[2]); }), ErrorCode::corrupt_frame);
  EXPECT_EQ(refusal([](auto& frames) { frames.pop_front(); }), ErrorCode::corrupt_frame);
  EXPECT_EQ(refusal([](auto& frames) { frames.insert(frames.begin() + 2, frames[0]); }),
            ErrorCode::corrupt_frame);
}

}  // namespace
}  // namespace gradwire::server
