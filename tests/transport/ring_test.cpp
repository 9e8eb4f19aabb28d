#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "mesh.hpp"
#include "transport/ring_link.hpp"

// Two ring links over one memory, both in this thread, with the memory in the test's hands.

namespace gradwire::transport {
namespace {

constexpr auto kNow = Clock::time_point{};

class RingTest : public testing::Test {
 protected:
  std::unique_ptr<RingLink> link_of(int rank, bool check = false) {
    RingParts parts;
    parts.world_size = 2;
    parts.rank = rank;
    parts.peer = 1 - rank;
    parts.memory = memory_;
    parts.peer_bell = bells_[static_cast<std::size_t>(1 - rank)];
    parts.check_payload = check;
    return std::make_unique<RingLink>(std::move(parts));
  }

  std::shared_ptr<const PairMemory> memory_ = std::make_shared<const PairMemory>(PairMemory::anonymous());
  std::array<std::shared_ptr<const Doorbell>, 2> bells_{std::make_shared<const Doorbell>(),
                                                        std::make_shared<const Doorbell>()};
};

bool has_rung(const Doorbell& bell) {
  std::uint64_t rings = 0;
  return ::read(bell.fd(), &rings, sizeof rings) > 0;
}

ErrorCode code_of_front(Link& link) {
  try {
    (void)link.front();
  } catch (const Error& error) {
    EXPECT_EQ(error.peer(), 0);
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::system;
}

TEST_F(RingTest, HoldsItsSlotsAndNoMore) {
  const auto writer = link_of(0);
  const auto reader = link_of(1);
  const std::vector<std::byte> payload(10);
  for (int lap = 0; lap < 5; ++lap) {
    for (std::size_t i = 0; i < kRingSlots; ++i) EXPECT_TRUE(writer->try_send({}, payload));
    EXPECT_FALSE(writer->try_send({}, payload));
    EXPECT_FALSE(writer->has_news(kNow));
    ASSERT_NE(reader->front(), nullptr);
    reader->pop();
    EXPECT_TRUE(writer->has_news(kNow)) << "space is news to who was refused";
    EXPECT_TRUE(writer->advance(kNow));
    EXPECT_FALSE(writer->advance(kNow)) << "but only once";
    EXPECT_TRUE(writer->try_send({}, payload));
    while (reader->front() != nullptr) reader->pop();
  }
}

TEST_F(RingTest, OnlySleepersAreWoken) {
  const auto writer = link_of(0);
  const auto reader = link_of(1);
  EXPECT_TRUE(writer->try_send({}, {}));
  EXPECT_FALSE(has_rung(*bells_[1]));
  reader->announce_sleep();
  EXPECT_TRUE(reader->has_news(kNow)) << "what came before the announcement must be seen after it";
  EXPECT_TRUE(writer->try_send({}, {}));
  EXPECT_TRUE(has_rung(*bells_[1]));
  EXPECT_TRUE(writer->try_send({}, {}));
  EXPECT_FALSE(has_rung(*bells_[1])) << "one ring for one sleep";
  reader->announce_sleep();
  reader->announce_awake();
  EXPECT_TRUE(writer->try_send({}, {}));
  EXPECT_FALSE(has_rung(*bells_[1]));

  // Space wakes only who asked for it.
  writer->announce_sleep();
  reader->pop();
  EXPECT_FALSE(has_rung(*bells_[0]));
  writer->announce_awake();
  // Four were sent, and one of them taken.
  for (std::size_t i = 3; i < kRingSlots; ++i) EXPECT_TRUE(writer->try_send({}, {}));
  EXPECT_FALSE(writer->try_send({}, {}));
  writer->announce_sleep();
  reader->pop();
  EXPECT_TRUE(has_rung(*bells_[0]));
}

TEST_F(RingTest, FramesSeenButNotTakenAreNoNews) {
  const auto writer = link_of(0);
  const auto reader = link_of(1);
  EXPECT_TRUE(writer->try_send({}, {}));
  EXPECT_TRUE(reader->has_news(kNow));
  ASSERT_NE(reader->front(), nullptr);
  EXPECT_FALSE(reader->has_news(kNow)) << "a rank that waits for another frame would never sleep";
  EXPECT_TRUE(writer->try_send({}, {}));
  EXPECT_TRUE(reader->has_news(kNow));
}

TEST_F(RingTest, DamagedPayloadsAreFoundWhenAskedFor) {
  for (const bool check : {false, true}) {
    const auto writer = link_of(0, check);
    const auto reader = link_of(1, check);
    const auto payload = payload_for(0, 1, 0, 1000);
    EXPECT_TRUE(writer->try_send({}, payload));
    memory_->payloads(0)[500] ^= std::byte{4};
    if (check) {
      EXPECT_EQ(code_of_front(*reader), ErrorCode::corrupt_frame);
    } else {
      EXPECT_NE(reader->front(), nullptr);
    }
    memory_ = std::make_shared<const PairMemory>(PairMemory::anonymous());
  }
}

TEST_F(RingTest, ImpossibleHeadersAreRefused) {
  const auto damage = [&](auto change) {
    memory_ = std::make_shared<const PairMemory>(PairMemory::anonymous());
    const auto writer = link_of(0);
    const auto reader = link_of(1);
    EXPECT_TRUE(writer->try_send({}, {}));
    change(memory_->pair().rings[0].slots[0].header);
    return code_of_front(*reader);
  };
  EXPECT_EQ(damage([](auto& header) { header.payload_bytes = wire::kMaxPayload + 1; }),
            ErrorCode::corrupt_frame);
  EXPECT_EQ(damage([](auto& header) { header.kind = wire::FrameKind::abort; }), ErrorCode::corrupt_frame);
}

TEST_F(RingTest, MessagesAreGivenOutLikeData) {
  const auto writer = link_of(0);
  const auto reader = link_of(1);
  EXPECT_TRUE(writer->try_send({.kind = wire::FrameKind::message}, {}));
  ASSERT_NE(reader->front(), nullptr);
  EXPECT_EQ(reader->front()->header.kind, wire::FrameKind::message);
}

TEST_F(RingTest, AnEndComesAfterTheFrames) {
  const auto writer = link_of(0);
  const auto reader = link_of(1);
  EXPECT_TRUE(writer->try_send({}, {}));
  LinkEnd goodbye;
  goodbye.kind = LinkEnd::Kind::goodbye;
  writer->send_end(goodbye);
  EXPECT_NE(reader->front(), nullptr);
  reader->pop();
  EXPECT_EQ(code_of_front(*reader), ErrorCode::peer_lost);
}

TEST_F(RingTest, TheFirstEndStays) {
  auto writer = link_of(0);
  const auto reader = link_of(1);
  LinkEnd abort;
  abort.kind = LinkEnd::Kind::abort;
  abort.origin = 0;
  abort.code = ErrorCode::non_finite;
  writer->send_end(abort);
  writer.reset();
  reader->advance(kNow);
  EXPECT_EQ(reader->peer_end().kind, LinkEnd::Kind::abort);
  EXPECT_EQ(reader->peer_end().code, ErrorCode::non_finite);
}

TEST(PairMemory, TwoMappingsAreOneMemory) {
  base::UniqueFd fd;
  const auto first = PairMemory::create(fd);
  const auto second = PairMemory::map(fd, 1);
  first.payloads(1)[77] = std::byte{9};
  EXPECT_EQ(second.payloads(1)[77], std::byte{9});
  EXPECT_NE(first.payloads(1), second.payloads(1));
}

TEST(PairMemory, OnlySealedMemoryOfTheRightSizeIsMapped) {
  base::UniqueFd good;
  const auto memory = PairMemory::create(good);
  EXPECT_NE(::ftruncate(good.get(), 100), 0) << "it could be shrunk under a reader's feet";
  const auto size = ::lseek(good.get(), 0, SEEK_END);

  const base::UniqueFd unsealed(::memfd_create("unsealed", MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(unsealed.get(), size), 0);
  EXPECT_THROW(PairMemory::map(unsealed, 1), Error);
  const base::UniqueFd small(::memfd_create("small", MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(small.get(), 4096), 0);
  ASSERT_EQ(::fcntl(small.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  EXPECT_THROW(PairMemory::map(small, 1), Error);
  const base::UniqueFd no_memory(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_THROW(PairMemory::map(no_memory, 1), Error);
}

}  // namespace
}  // namespace gradwire::transport
