// What requests do to a server, one at a time, and what each of them can do wrong.

#include "server/server_state.hpp"

#include <gtest/gtest.h>

#include "expect_error.hpp"
#include "server_calls.hpp"

namespace gradwire::server {
namespace {

constexpr std::size_t kCount = 64;

Join join_request(std::uint32_t worker, const std::string& consistency, std::uint32_t workers = 2) {
  return {.session = 100 + worker,
          .worker = worker,
          .workers = workers,
          .consistency = parse_consistency(consistency)};
}

/// Two workers, 0 and 1 with sessions 100 and 101, and one key.
class ServerStateTest : public testing::Test {
 protected:
  void start(const std::string& consistency, const std::string& pull_codec = "none") {
    pull_codec_ = pull_codec;
    for (const std::uint32_t worker : {0U, 1U}) {
      Join request = join_request(worker, consistency);
      request.pull_codec = pull_codec;
      state_.join(request, at_ms(0));
    }
    key_ = state_.make_key(whole_key("w", kCount, "sgd:lr=1"), Floats(kCount));
  }

  bool push(std::uint32_t worker, std::uint64_t sequence, std::uint64_t clock, float value) {
    Payload payload = plain(Floats(kCount, value));
    return state_.push(worker, 100 + worker, {.sequence = sequence, .shard = 0, .clock = clock}, payload);
  }

  std::optional<PullAnswer> pull(std::uint32_t worker, std::uint64_t clock, std::uint64_t version = 0,
                                 std::uint64_t incarnation = 1) {
    return state_.pull(
        worker, 100 + worker,
        {.request = 9, .shard = 0, .clock = clock, .incarnation = incarnation, .version = version});
  }

  void advance(std::uint32_t worker, std::uint64_t clock) { state_.advance(worker, 100 + worker, {clock}); }

  [[nodiscard]] float value() const { return (*state_.estimate(0))[0]; }

  ServerState state_{{.lease = std::chrono::milliseconds(100), .incarnation = 1}};
  KeyMade key_;
  std::string pull_codec_;
};

TEST_F(ServerStateTest, JoinTellsWhatAWorkerHasToKnow) {
  const Joined joined = state_.join(join_request(0, "ssp:2"), at_ms(0));
  EXPECT_EQ(joined.incarnation, 1U);
  EXPECT_EQ(joined.clock, 0U);
  EXPECT_EQ(joined.sequence, 0U);
  EXPECT_EQ(joined.lease_ms, 100U);
}

TEST_F(ServerStateTest, JoinRefusesWhatDoesNotFit) {
  const auto refused = [&](const std::string& part, const Join& request) {
    expect_error(ErrorCode::invalid_argument, part, [&] { state_.join(request, at_ms(0)); });
  };
  const auto with = [&](auto&& change) {
    Join request = join_request(1, "ssp:2");
    change(request);
    return request;
  };
  // Nothing is agreed on by somebody who was refused.
  refused("there is no codec named 'zip'", with([](Join& join) { join.push_codec = "zip"; }));
  refused("0 workers", with([](Join& join) { join.workers = 0; }));
  state_.join(join_request(0, "ssp:2"), at_ms(0));
  refused("server 1 of 2, and this is server 0 of 1", with([](Join& join) {
            join.server = 1;
            join.servers = 2;
          }));
  refused("workers of 3 asked to join a job with 2", with([](Join& join) { join.workers = 3; }));
  refused("consistency ssp:3 asked to join a job with ssp:2",
          with([](Join& join) { join.consistency.staleness = 3; }));
  refused("push codec onebit asked", with([](Join& join) { join.push_codec = "onebit"; }));
  refused("pull codec bf16 asked", with([](Join& join) { join.pull_codec = "bf16"; }));
  expect_error(kNumberIsTaken, "taken",
               [&] { state_.join(with([](Join& join) { join.worker = 0; }), at_ms(0)); });
  refused("too large", with([](Join& join) { join.worker = 0x80000000U; }));
  state_.join(with([](Join&) {}), at_ms(0));
}

TEST_F(ServerStateTest, WhoWasHereAndMadeNothingBindsNobody) {
  const auto expect_bound = [&] {
    expect_error(ErrorCode::invalid_argument, "consistency asp asked to join a job with ssp:2",
                 [&] { state_.join(join_request(1, "asp", 3), at_ms(0)); });
  };
  state_.join(join_request(0, "ssp:2", 3), at_ms(0));
  expect_bound();
  state_.leave(0, 100);
  state_.gone(0, 100);
  state_.join(join_request(1, "bsp"), at_ms(0));
  state_.advance(1, 101, {7});
  // One that died counts as little as one that said goodbye.
  state_.gone(1, 101);
  EXPECT_EQ(state_.join(join_request(1, "ssp:2", 3), at_ms(0)).clock, 0U) << "nor did it make any steps";
  expect_error(ErrorCode::invalid_argument, "has not joined", [&] { state_.beat(0, 100); });
  // A connection that has not ended yet, of a worker that is given up.
  state_.expire(at_ms(100));
  state_.join(join_request(1, "ssp:2", 3), at_ms(100));
  expect_bound();
  state_.make_key(whole_key("w", kCount, "sgd:lr=1"), Floats(kCount));
  state_.leave(1, 101);
  state_.gone(1, 101);
  state_.gone(1, 101);
  expect_bound();
}

TEST_F(ServerStateTest, SettingsAreComparedWithThoseOfOthersThatAreConnected) {
  const auto request = [&](std::uint32_t worker, const std::string& settings, std::uint64_t session) {
    Join join = join_request(worker, "asp");
    join.session = session;
    join.settings = settings;
    return join;
  };
  const auto join = [&](std::uint32_t worker, const std::string& settings, std::uint64_t session) {
    state_.join(request(worker, settings, session), at_ms(0));
  };
  const auto refused = [&](const std::string& settings, const std::string& part) {
    expect_error(ErrorCode::invalid_argument, part, [&] { join(1, settings, 1); });
  };
  join(0, "batch: 64\nseed: 1\n", 7);
  refused("batch: 32\nseed: 1\n", "it has 'batch: 32', and those that take part have 'batch: 64'");
  refused("batch: 64\n", "it has 'nothing', and those that take part have 'seed: 1'");
  join(1, "batch: 64\nseed: 1", 1);  // the same without a newline
  state_.make_key(whole_key("w", kCount, "sgd:lr=1"), Floats(kCount));
  state_.gone(1, 1);
  Join fewer = request(1, "batch: 32\n", 2);
  fewer.workers = 5;
  expect_error(ErrorCode::invalid_argument, "number of workers", [&] { state_.join(fewer, at_ms(0)); });
  // Its own old process, connected still or not, does not mind, and neither do those that are away.
  state_.gone(0, 7);
  join(1, "batch: 32\n", 2);
  expect_error(ErrorCode::invalid_argument, "'batch: 64', and those that take part have 'batch: 32'",
               [&] { join(0, "batch: 64\nseed: 1\n", 8); });
  // But who was let in comes back, over another connection and to a server that was started again.
  join(0, "batch: 64\nseed: 1\n", 7);
  refused("batch: 32\n", "'batch: 64'");
  ServerState restored({.lease = std::chrono::milliseconds(100), .incarnation = 2});
  restored.restore(state_.save(), "saved", at_ms(0));
  restored.join(request(1, "batch: 16\n", 9), at_ms(0));
  restored.join(request(0, "batch: 64\nseed: 1\n", 7), at_ms(0));
}

TEST_F(ServerStateTest, WhatAWorkerHadIsKeptForTheSameJob) {
  for (const std::uint32_t worker : {0U, 1U}) state_.join(join_request(worker, "asp"), at_ms(0));
  advance(0, 3);
  advance(1, 5);
  for (const std::uint32_t worker : {0U, 1U}) state_.gone(worker, 100 + worker);
  EXPECT_EQ(state_.join(join_request(1, "asp"), at_ms(0)).clock, 5U);
}

TEST_F(ServerStateTest, AJobThatBeginsAgainAfterOneThatLeftNothingWaitsForAllOfItsWorkers) {
  for (const std::uint32_t worker : {0U, 1U}) state_.join(join_request(worker, "bsp"), at_ms(0));
  for (const std::uint32_t worker : {0U, 1U}) state_.gone(worker, 100 + worker);
  state_.expire(at_ms(100));
  Join again = join_request(0, "bsp");
  again.session = 200;
  state_.join(again, at_ms(100));
  state_.advance(0, 200, {1});
  EXPECT_EQ(state_.clock(), 0U);
  again = join_request(1, "bsp");
  again.session = 201;
  EXPECT_EQ(state_.join(again, at_ms(100)).clock, 0U);
  state_.advance(1, 201, {1});
  EXPECT_EQ(state_.clock(), 1U);
}

TEST_F(ServerStateTest, TwoNamesOfOneThingFit) {
  Join request = join_request(0, "bsp");
  request.push_codec = "onebit";
  state_.join(request, at_ms(0));
  request = join_request(1, "ssp:0");
  request.push_codec = "onebit:block=256";
  state_.join(request, at_ms(0));
}

TEST_F(ServerStateTest, RequestsBeforeAnybodyJoinedAreRefused) {
  expect_error(ErrorCode::invalid_argument, "join first", [&] { push(0, 1, 0, 1); });
  expect_error(ErrorCode::invalid_argument, "join first", [&] { pull(0, 0); });
  expect_error(ErrorCode::invalid_argument, "join first", [&] { advance(0, 1); });
  expect_error(ErrorCode::invalid_argument, "join first", [&] { state_.beat(0, 100); });
  expect_error(ErrorCode::invalid_argument, "join first",
               [&] { state_.make_key(whole_key("w", kCount, "sgd"), Floats(kCount)); });
  expect_error(ErrorCode::invalid_argument, "init()", [&] { static_cast<void>(state_.count(0)); });
  expect_error(ErrorCode::invalid_argument, "join first", [&] { state_.require_member(0, 100); });
  state_.gone(0, 100);
  state_.leave(0, 100);
  EXPECT_FALSE(state_.heard(0, 100, at_ms(0)));
  EXPECT_TRUE(state_.expire(at_ms(0)).empty());
  EXPECT_EQ(state_.next_expiry(), Time::max());
  EXPECT_EQ(state_.clock(), 0U);
}

TEST_F(ServerStateTest, TheFirstValueOfAKeyCounts) {
  start("bsp");
  const KeyMade again = state_.make_key(whole_key("w", kCount, "sgd:lr=1"), Floats(kCount, 5));
  EXPECT_EQ(again.shard, key_.shard);
  EXPECT_EQ(value(), 0);
  MakeKey other = whole_key("v", kCount, "adam");
  other.request = 77;
  const KeyMade made = state_.make_key(other, Floats(kCount, 5));
  EXPECT_EQ(made.request, 77U);
  EXPECT_EQ(made.shard, 1U);
  EXPECT_EQ(made.count, kCount);
  EXPECT_EQ((*state_.estimate(1))[3], 5);
}

TEST_F(ServerStateTest, MakeKeyRefusesWhatDoesNotFit) {
  start("bsp");
  const auto refused = [&](const std::string& part, const MakeKey& request, std::size_t count) {
    expect_error(ErrorCode::invalid_argument, part, [&] { state_.make_key(request, Floats(count)); });
  };
  refused("'w' has 65 elements here, and 64 where", whole_key("w", 65, "sgd:lr=1"), 65);
  refused("'sgd:lr=0.5' here, and 'sgd:lr=1' where", whole_key("w", 64, "sgd:lr=0.5"), 64);
  refused("'rate=1' is no option", whole_key("w", 64, "sgd:rate=1"), 64);
  refused("elements 16 to 64 of key 'w'",
          {.key = "w", .optimizer = "sgd:lr=1", .total = 64, .first = 16, .count = 48}, 48);
  refused("elements 0 to 32 of key 'v'",
          {.key = "v", .optimizer = "sgd:lr=1", .total = 64, .first = 0, .count = 32}, 32);
  refused("at least one element", whole_key("v", 0, "sgd:lr=1"), 0);
  refused("came with 63 elements instead of 64", whole_key("v", 64, "sgd:lr=1"), 63);
}

TEST_F(ServerStateTest, OnlyTheFirstValueOfAKeyThatMayBeIsNeeded) {
  start("bsp");
  EXPECT_TRUE(state_.needs_value(whole_key("v", kCount, "sgd:lr=1")));
  EXPECT_FALSE(state_.needs_value(whole_key("w", kCount, "sgd:lr=1")));
  expect_error(ErrorCode::invalid_argument, "elements 0 to 32 of key 'v'", [&] {
    static_cast<void>(
        state_.needs_value({.key = "v", .optimizer = "sgd", .total = 64, .first = 0, .count = 32}));
  });
  expect_error(ErrorCode::invalid_argument, "'rate=1' is no option",
               [&] { static_cast<void>(state_.needs_value(whole_key("v", kCount, "sgd:rate=1"))); });
}

TEST_F(ServerStateTest, InStepAPushWaitsForItsClock) {
  start("bsp");
  push(1, 1, 0, 3);
  push(0, 1, 0, 1);
  advance(0, 1);
  EXPECT_EQ(state_.clock(), 0U);
  EXPECT_EQ(value(), 0);
  EXPECT_FALSE(pull(0, 1).has_value());
  EXPECT_TRUE(pull(1, 0).has_value());
  advance(1, 1);
  EXPECT_EQ(state_.clock(), 1U);
  EXPECT_EQ(value(), -2);
  const auto answer = pull(0, 1);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->head.request, 9U);
  EXPECT_EQ(answer->head.version, 1U);
  EXPECT_TRUE(answer->head.whole);
  EXPECT_EQ(answer->whole->back(), -2);
}

TEST_F(ServerStateTest, InStepAWorkerMayBeSixteenStepsAhead) {
  start("bsp");
  advance(0, 16);
  EXPECT_FALSE(state_.is_far_ahead(0, 100));
  advance(0, 17);
  EXPECT_TRUE(state_.is_far_ahead(0, 100));
  EXPECT_FALSE(state_.is_far_ahead(0, 7)) << "another session";
  EXPECT_FALSE(state_.is_far_ahead(1, 101));
  advance(1, 1);
  EXPECT_FALSE(state_.is_far_ahead(0, 100));
}

TEST_F(ServerStateTest, InStepAWorkerPushesSoOftenInAStepAndNotMore) {
  start("bsp");
  for (std::uint64_t i = 1; i <= 64; ++i) push(0, i, 0, 1);
  expect_error(ErrorCode::invalid_argument, "worker 0 has pushed 64 times to key 'w' in step 0",
               [&] { push(0, 65, 0, 1); });
  EXPECT_TRUE(push(1, 1, 0, 1));
  EXPECT_TRUE(push(0, 66, 1, 1));
}

TEST_F(ServerStateTest, NotInStepAWorkerPushesAsOftenAsItLikes) {
  start("asp");
  for (std::uint64_t i = 1; i <= 100; ++i) EXPECT_TRUE(push(0, i, 0, 1));
}

TEST_F(ServerStateTest, WhatADeadWorkerPushedCounts) {
  start("bsp");
  push(1, 1, 0, 3);
  push(0, 1, 0, 1);
  advance(0, 1);
  state_.gone(1, 101);
  EXPECT_TRUE(state_.heard(0, 100, at_ms(50)));
  EXPECT_EQ(state_.next_expiry(), at_ms(100));
  EXPECT_EQ(state_.expire(at_ms(100)), (std::vector<std::uint32_t>{1}));
  EXPECT_EQ(value(), -2);
}

TEST_F(ServerStateTest, WhatALeavingWorkerPushedCounts) {
  start("bsp");
  push(1, 1, 0, 3);
  push(0, 1, 0, 1);
  advance(0, 1);
  state_.leave(1, 101);
  EXPECT_EQ(value(), -2);
}

TEST_F(ServerStateTest, NotInStepAPushCountsAtOnceForItsPart) {
  start("ssp:1");
  push(0, 1, 0, 1);
  EXPECT_EQ(value(), -0.5F);
  state_.leave(1, 101);
  push(0, 2, 0, 1);
  EXPECT_EQ(value(), -1.5F);
}

TEST_F(ServerStateTest, BeforeAllHaveJoinedThoseToComeHaveTheirPart) {
  state_.join(join_request(0, "asp", 4), at_ms(0));
  state_.make_key(whole_key("w", kCount, "sgd:lr=1"), Floats(kCount));
  push(0, 1, 0, 1);
  EXPECT_EQ(value(), -0.25F);
}

TEST_F(ServerStateTest, ARepeatedPushIsKnown) {
  start("asp");
  EXPECT_TRUE(push(0, 1, 0, 1));
  EXPECT_FALSE(push(0, 1, 0, 1));
  EXPECT_TRUE(push(0, 2, 0, 1));
  EXPECT_FALSE(push(0, 1, 0, 1));
  EXPECT_EQ(value(), -1);
  EXPECT_EQ(state_.join(join_request(0, "asp"), at_ms(0)).sequence, 2U);
  expect_error(ErrorCode::invalid_argument, "from 1", [&] { push(0, 0, 0, 1); });
}

TEST_F(ServerStateTest, AfterItsLeaseAWorkerIsToldToJoinAgain) {
  start("asp");
  push(0, 1, 0, 1);
  state_.expire(at_ms(100));
  const auto refused = [&](auto&& call) { expect_error(ErrorCode::peer_lost, "join again", call); };
  refused([&] { push(0, 2, 0, 1); });
  refused([&] { pull(0, 0); });
  refused([&] { advance(0, 1); });
  refused([&] { state_.beat(0, 100); });
  EXPECT_FALSE(state_.heard(0, 100, at_ms(101)));
  EXPECT_FALSE(push(0, 1, 0, 1)) << "what was taken stays taken";
  EXPECT_EQ(value(), -0.5F);
  state_.join(join_request(0, "asp"), at_ms(120));
  state_.beat(0, 100);
  refused([&] { push(0, 2, 0, 1); });
  EXPECT_TRUE(push(0, 3, 0, 1));
}

TEST_F(ServerStateTest, ARefusedPushStaysRefusedUntilItsWorkerKnows) {
  start("asp");
  advance(0, 1);
  const auto again = [](ServerState& state) { return state.join(join_request(0, "asp"), at_ms(0)).sequence; };
  expect_error(ErrorCode::invalid_argument, "stamped 0", [&] { push(0, 1, 0, 1); });
  EXPECT_TRUE(push(0, 2, 1, 1));
  // Its later push does not make it one that was taken, nor does another stamp, nor a restart.
  expect_error(ErrorCode::invalid_argument, "stamped 0", [&] { push(0, 1, 1, 1); });
  EXPECT_EQ(value(), -0.5F);
  ServerState restored({.lease = std::chrono::milliseconds(100), .incarnation = 2});
  restored.restore(state_.save(), "saved", at_ms(0));
  for (ServerState* const state : {&state_, &restored}) {
    EXPECT_EQ(again(*state), 2U);
    const auto refused = state->refused(0, 100);
    ASSERT_EQ(refused.size(), 1U);
    EXPECT_EQ(refused[0].verb, Verb::push);
    EXPECT_EQ(refused[0].request, 1U);
    EXPECT_EQ(refused[0].code, ErrorCode::invalid_argument);
    EXPECT_TRUE(refused[0].happened.starts_with("a push of worker 0 is stamped 0")) << refused[0].happened;
    EXPECT_TRUE(refused[0].advice.starts_with("push before clock()")) << refused[0].advice;
    EXPECT_TRUE(state->refused(0, 99).empty()) << "another session";
    EXPECT_TRUE(state->refused(1, 101).empty());
    state->forget_refused(0, 99);
    EXPECT_EQ(state->refused(0, 100).size(), 1U);
    state->forget_refused(0, 100);
    EXPECT_TRUE(state->refused(0, 100).empty());
  }
}

TEST_F(ServerStateTest, AWorkerHasToKnowOfItsRefusedPushesBeforeTheyAreTooMany) {
  start("asp");
  advance(0, 1);
  for (std::uint64_t sequence = 1; sequence <= 1024; ++sequence) {
    EXPECT_FALSE(state_.has_many_refused(0, 100));
    EXPECT_THROW(push(0, sequence, 0, 1), Error);
  }
  EXPECT_TRUE(state_.has_many_refused(0, 100));
  EXPECT_FALSE(state_.has_many_refused(0, 99));
  state_.forget_refused(0, 100);
  EXPECT_FALSE(state_.has_many_refused(0, 100));
}

TEST_F(ServerStateTest, PushRefusesWhatCannotBe) {
  start("asp");
  advance(0, 3);
  expect_error(ErrorCode::invalid_argument, "stamped 2", [&] { push(0, 1, 2, 1); });
  expect_error(ErrorCode::invalid_argument, "shard 1 is not known", [&] {
    Payload payload = plain(Floats(kCount));
    state_.push(0, 100, {.sequence = 2, .shard = 1, .clock = 3}, payload);
  });
  expect_error(ErrorCode::corrupt_frame, "holds 252 bytes", [&] {
    Payload payload = plain(Floats(kCount - 1));
    state_.push(0, 100, {.sequence = 3, .shard = 0, .clock = 3}, payload);
  });
  expect_error(ErrorCode::peer_lost, "another process has its number", [&] {
    Payload payload = plain(Floats(kCount));
    state_.push(0, 99, {.sequence = 4, .shard = 0, .clock = 3}, payload);
  });
  // None of these was taken.
  EXPECT_EQ(value(), 0);
  EXPECT_TRUE(push(0, 4, 3, 1));
}

TEST_F(ServerStateTest, ALaterStampMovesTheClock) {
  start("bsp");
  push(0, 1, 0, 2);
  push(0, 2, 1, 2);
  EXPECT_TRUE(pull(1, 0).has_value());
  EXPECT_EQ(value(), 0);
  push(1, 1, 1, 4);
  EXPECT_EQ(state_.clock(), 1U);
  EXPECT_EQ(value(), -2);
}

TEST_F(ServerStateTest, PullsBringFramesThenTheWhole) {
  start("ssp:9", "onebit");
  Mirror mirror{.values = Floats(kCount), .incarnation = 1, .version = key_.version};
  const auto codec = compress::make_codec("onebit");
  for (std::uint64_t step = 1; step <= 20; ++step) {
    push(0, step, 0, static_cast<float>(step));
    const auto answer = pull(0, 0, mirror.version);
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->head.sealed, 1U);
    mirror.take(*answer, *codec, 1);
    EXPECT_EQ(mirror.version, step);
    EXPECT_EQ(mirror.values[7], value());
  }
  EXPECT_EQ(pull(1, 0, 20)->head.sealed, 0U);
  EXPECT_FALSE(pull(1, 0, 20)->head.whole);
  EXPECT_EQ(pull(1, 0, 4)->head.sealed, 16U);
  EXPECT_TRUE(pull(1, 0, 3)->head.whole);
  EXPECT_TRUE(pull(1, 0, 20, 2)->head.whole) << "a version of another incarnation";
  EXPECT_TRUE(pull(1, 0, 21)->head.whole) << "a version that never was";
}

TEST_F(ServerStateTest, AspSealsOnceForEveryEighthOfTheWorkers) {
  for (std::uint32_t worker = 0; worker < 17; ++worker) {
    Join request = join_request(worker, "asp", 17);
    request.pull_codec = "onebit";
    state_.join(request, at_ms(0));
  }
  state_.make_key(whole_key("w", kCount, "sgd:lr=1"), Floats(kCount));
  for (std::uint64_t sequence = 1; sequence <= 7; ++sequence) {
    push(0, sequence, 0, 1);
    EXPECT_EQ(pull(0, 0)->head.version, sequence / 3);
  }
}

TEST_F(ServerStateTest, AspWithoutLossHidesNothing) {
  for (std::uint32_t worker = 0; worker < 17; ++worker)
    state_.join(join_request(worker, "asp", 17), at_ms(0));
  state_.make_key(whole_key("w", kCount, "sgd:lr=1"), Floats(kCount));
  push(0, 1, 0, 17);
  EXPECT_EQ(pull(0, 0)->whole->front(), -1);
}

TEST_F(ServerStateTest, AShardOfAnotherServerIsRefused) {
  ServerState state({.index = 1, .servers = 2});
  Join request = join_request(0, "bsp");
  request.server = 1;
  request.servers = 2;
  state.join(request, at_ms(0));
  const std::uint64_t total = 40'000;
  MakeKey key{.key = "w", .optimizer = "sgd", .total = total, .first = 20'000, .count = 20'000};
  EXPECT_EQ(state.make_key(key, Floats(20'000)).count, 20'000U);
  key = {.key = "v", .optimizer = "sgd", .total = total, .first = 0, .count = 20'000};
  expect_error(ErrorCode::invalid_argument, "no shard of server 1 of 2",
               [&] { state.make_key(key, Floats(20'000)); });
}

}  // namespace
}  // namespace gradwire::server
