#include "server/membership.hpp"

#include <gtest/gtest.h>

#include "expect_error.hpp"
#include "server_calls.hpp"

namespace gradwire::server {
namespace {

constexpr std::chrono::milliseconds kLease{100};

Membership members_of(const std::string& consistency, std::uint32_t workers) {
  return {parse_consistency(consistency), workers, kLease};
}

void advance(Membership& members, std::uint32_t worker, std::uint64_t session, std::uint64_t clock) {
  members.advance(members.known(worker, session), clock);
}

TEST(Membership, ClockIsZeroUntilAllHaveJoined) {
  Membership members = members_of("asp", 3);
  members.join(0, 10, at_ms(0));
  members.join(1, 11, at_ms(0));
  advance(members, 0, 10, 5);
  advance(members, 1, 11, 4);
  EXPECT_EQ(members.clock(), 0U);
  EXPECT_EQ(members.sharing(), 3U);
  members.leave(1, 11);
  EXPECT_EQ(members.clock(), 0U);
  EXPECT_EQ(members.sharing(), 2U);
  // One that has left has joined once; the third begins where the servers are.
  EXPECT_EQ(members.join(2, 12, at_ms(0)).clock, 0U);
  advance(members, 2, 12, 3);
  EXPECT_EQ(members.clock(), 3U);
}

TEST(Membership, ReadsAreAsStaleAsIsAllowed) {
  for (const auto& [consistency, staleness] :
       std::vector<std::pair<std::string, std::uint64_t>>{{"bsp", 0}, {"ssp:1", 1}, {"ssp:3", 3}}) {
    Membership members = members_of(consistency, 2);
    members.join(0, 10, at_ms(0));
    members.join(1, 11, at_ms(0));
    advance(members, 1, 11, 100);
    for (std::uint64_t clock = 0; clock < 10; ++clock) {
      advance(members, 0, 10, clock);
      EXPECT_TRUE(members.may_read(clock + staleness, members.clock())) << consistency << " at " << clock;
      EXPECT_FALSE(members.may_read(clock + staleness + 1, members.clock()))
          << consistency << " at " << clock;
    }
  }
  EXPECT_TRUE(members_of("asp", 2).may_read(1'000'000, 0));
}

TEST(Membership, AWorkerThatIsSilentNoLongerHoldsBackTheClock) {
  Membership members = members_of("bsp", 2);
  members.join(0, 10, at_ms(0));
  members.join(1, 11, at_ms(0));
  advance(members, 0, 10, 7);
  EXPECT_EQ(members.next_expiry(), at_ms(100));
  EXPECT_TRUE(members.heard(0, 10, at_ms(50)));
  EXPECT_TRUE(members.expire(at_ms(99)).empty());
  EXPECT_EQ(members.clock(), 0U);
  EXPECT_EQ(members.expire(at_ms(100)), (std::vector<std::uint32_t>{1}));
  EXPECT_EQ(members.clock(), 7U);
  EXPECT_EQ(members.next_expiry(), at_ms(150));
  EXPECT_FALSE(members.heard(1, 11, at_ms(101)));
  expect_error(ErrorCode::peer_lost, "join again", [&] { members.require_live(1, members.known(1, 11)); });
  // It goes on where the others are.
  EXPECT_EQ(members.join(1, 11, at_ms(110)).clock, 7U);
  EXPECT_EQ(members.clock(), 7U);
}

TEST(Membership, AWorkerThatComesBackKeepsALaterClock) {
  Membership members = members_of("ssp:3", 2);
  members.join(0, 10, at_ms(0));
  members.join(1, 11, at_ms(50));
  advance(members, 0, 10, 3);
  members.expire(at_ms(100));
  EXPECT_EQ(members.join(0, 10, at_ms(110)).clock, 3U);
}

TEST(Membership, ANumberIsTakenUntilItsConnectionsEnd) {
  Membership members = members_of("ssp:3", 1);
  members.join(0, 10, at_ms(0));
  members.join(0, 10, at_ms(0));  // it connected again before the end of its first connection was noticed
  advance(members, 0, 10, 5);
  members.gone(0, 10);
  expect_error(kNumberIsTaken, "taken", [&] { members.join(0, 99, at_ms(0)); });
  members.gone(0, 10);
  members.known(0, 10).sequence = 8;
  const Member& member = members.join(0, 99, at_ms(0));
  EXPECT_EQ(member.clock, 5U);
  EXPECT_EQ(member.sequence, 0U);
  expect_error(ErrorCode::peer_lost, "another process", [&] { members.known(0, 10); });
  // Whatever is still heard of the old process changes nothing.
  members.gone(0, 10);
  EXPECT_FALSE(members.leave(0, 10));
  EXPECT_FALSE(members.heard(0, 10, at_ms(90)));
  expect_error(kNumberIsTaken, "taken", [&] { members.join(0, 77, at_ms(0)); });
}

TEST(Membership, ANumberIsFreeWhenTheLeaseIsOver) {
  Membership members = members_of("bsp", 1);
  members.join(0, 10, at_ms(0));
  members.expire(at_ms(100));
  EXPECT_EQ(members.join(0, 99, at_ms(100)).session, 99U);
}

TEST(Membership, TheClockStaysWhereItIsWhenNobodyIsLeft) {
  Membership members = members_of("bsp", 2);
  members.join(0, 10, at_ms(0));
  members.join(1, 11, at_ms(0));
  advance(members, 0, 10, 6);
  advance(members, 1, 11, 5);
  EXPECT_TRUE(members.leave(0, 10));
  EXPECT_TRUE(members.leave(1, 11));
  EXPECT_FALSE(members.leave(1, 11));
  EXPECT_EQ(members.clock(), 5U);
  EXPECT_EQ(members.next_expiry(), Time::max());
  EXPECT_EQ(members.join(2, 12, at_ms(0)).clock, 5U);
}

TEST(Membership, AnUnknownWorkerIsToldToJoin) {
  Membership members = members_of("bsp", 1);
  expect_error(ErrorCode::invalid_argument, "worker 3 has not joined", [&] { members.known(3, 1); });
}

TEST(Membership, AnEarlierClockChangesNothing) {
  Membership members = members_of("bsp", 1);
  members.join(0, 10, at_ms(0));
  advance(members, 0, 10, 4);
  advance(members, 0, 10, 3);
  EXPECT_EQ(members.clock(), 4U);
}

}  // namespace
}  // namespace gradwire::server
