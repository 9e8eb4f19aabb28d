#include "server/shard.hpp"

#include <gtest/gtest.h>

#include <random>

#include "server_calls.hpp"
#include "tests/support/normal_floats.hpp"

namespace gradwire::server {
namespace {

/// Long enough for two pieces and a block that is not full.
constexpr std::size_t kCount = 9000;

ShardCodecs codecs(const std::string& push, const std::string& pull) {
  return {.push = compress::make_codec(push), .pull = compress::make_codec(pull), .kept_versions = 16};
}

Shard shard_of(const std::string& optimizer, const std::string& push, const std::string& pull) {
  return {{.key = "w", .optimizer = optimizer, .total = kCount, .first = 0, .count = kCount},
          codecs(push, pull),
          Floats(kCount)};
}

Floats held(const Shard& shard) { return {shard.estimate().begin(), shard.estimate().end()}; }

struct Arrival {
  std::uint32_t worker;
  std::uint64_t session;
  std::uint64_t stamp;
  unsigned gradient;
};

Floats settled(const std::vector<Arrival>& arrivals, const std::string& push) {
  Shard shard = shard_of("momentum:lr=0.1,mu=0.9", push, "none");
  for (const Arrival& arrival : arrivals) {
    Payload payload = encoded(*compress::make_codec(push), normal_floats(kCount, arrival.gradient));
    shard.hold(arrival.stamp, arrival.worker, arrival.session, payload);
  }
  shard.settle(10);
  return held(shard);
}

TEST(Shard, InStepTheOrderOfArrivalChangesNothing) {
  for (const std::string push : {"none", "onebit", "onebit:block=1024,scale=l2", "bf16"}) {
    // Two parts of one worker's gradient stay in order, since one connection brings them.
    std::vector<Arrival> arrivals{{0, 1, 3, 1}, {1, 1, 3, 2}, {2, 1, 3, 3}, {7, 1, 3, 4},
                                  {0, 1, 4, 5}, {1, 1, 4, 6}, {2, 1, 4, 7}, {7, 1, 5, 8}};
    const Floats expected = settled(arrivals, push);
    std::mt19937 random(5);
    for (int i = 0; i < 20; ++i) {
      std::shuffle(arrivals.begin(), arrivals.end(), random);
      EXPECT_EQ(settled(arrivals, push), expected) << push;
    }
  }
}

TEST(Shard, InStepTheMeanIsOverWorkersThatPushed) {
  Shard shard = shard_of("sgd:lr=1", "none", "none");
  const auto hold = [&](std::uint32_t worker, std::uint64_t session, float value) {
    Payload payload = plain(Floats(kCount, value));
    shard.hold(0, worker, session, payload);
  };
  hold(2, 22, 1);
  hold(0, 20, 2);
  hold(2, 22, 4);  // another part of worker 2's
  hold(2, 23, 5);  // its number's new process
  shard.settle(0);
  EXPECT_EQ(held(shard), Floats(kCount));
  shard.settle(1);
  EXPECT_EQ(held(shard), Floats(kCount, -12.0F / 3));
  EXPECT_EQ(shard.log().version(), 1U);
}

TEST(Shard, InStepEveryStampIsAStepAndAVersion) {
  Shard shard = shard_of("sgd:lr=1", "none", "onebit");
  for (const std::uint64_t stamp : {5U, 3U, 9U}) {
    Payload payload = plain(normal_floats(kCount, 1));
    shard.hold(stamp, 0, 1, payload);
  }
  shard.settle(9);
  EXPECT_EQ(shard.log().version(), 2U);
  shard.settle(9);
  EXPECT_EQ(shard.log().version(), 2U);
  shard.settle(10);
  EXPECT_EQ(shard.log().version(), 3U);
}

TEST(Shard, NotInStepEveryPushIsAStepWithItsPart) {
  Shard shard = shard_of("sgd:lr=1", "none", "none");
  shard.apply(plain(Floats(kCount, 3)), 3);
  EXPECT_EQ(held(shard), Floats(kCount, -1));
  shard.apply(plain(Floats(kCount, 3)), 2);
  EXPECT_EQ(held(shard), Floats(kCount, -2.5F));
}

TEST(Shard, SealsWhenEnoughWasPushed) {
  Shard shard = shard_of("sgd:lr=1", "onebit", "onebit");
  const Payload payload = encoded(*compress::make_codec("onebit"), normal_floats(kCount, 1));
  shard.refresh(1);
  EXPECT_EQ(shard.log().version(), 0U);
  shard.apply(payload, 1);
  shard.refresh(2);
  EXPECT_EQ(shard.log().version(), 0U);
  shard.apply(payload, 1);
  shard.refresh(2);
  EXPECT_EQ(shard.log().version(), 1U);
  shard.refresh(1);
  EXPECT_EQ(shard.log().version(), 1U);
}

TEST(Shard, OneCopyOfAVersionIsShared) {
  Shard shard = shard_of("sgd:lr=1", "none", "onebit");
  const SharedValue first = shard.share_estimate();
  EXPECT_EQ(shard.share_estimate(), first);
  shard.apply(plain(normal_floats(kCount, 1)), 1);
  shard.refresh(1);
  const SharedValue second = shard.share_estimate();
  EXPECT_NE(second, first);
  EXPECT_EQ(*first, *std::make_shared<const base::AlignedVector<float>>(kCount));
  EXPECT_EQ(Floats(second->begin(), second->end()), held(shard));
}

TEST(Shard, HeldMemoryComesBack) {
  Shard shard = shard_of("sgd:lr=1", "none", "none");
  Payload payload = plain(normal_floats(kCount, 1));
  const std::byte* const memory = payload.data();
  shard.hold(0, 0, 1, payload);
  shard.settle(1);
  Payload next = plain(normal_floats(kCount, 2));
  shard.hold(1, 0, 1, next);
  EXPECT_EQ(next.data(), memory);
  EXPECT_EQ(next.size(), shard.push_bytes());
}

TEST(PayloadPool, WhatAPeakLeftIsFreedOnceNobodyTakesIt) {
  PayloadPool pool;
  std::vector<Payload> many;
  many.reserve(100);
  for (int i = 0; i < 100; ++i) many.push_back(pool.take(10));
  for (Payload& payload : many) pool.give(std::move(payload));
  pool.give(Payload(20));
  EXPECT_EQ(pool.count(), 101U);
  const auto use_four = [&] {
    std::vector<Payload> few;
    few.reserve(4);
    for (int i = 0; i < 4; ++i) few.push_back(pool.take(10));
    for (Payload& payload : few) pool.give(std::move(payload));
  };
  for (int i = 0; i < 150; ++i) use_four();
  EXPECT_EQ(pool.count(), 4U);
  for (int i = 0; i < 100; ++i) {
    use_four();
    EXPECT_EQ(pool.count(), 4U);
  }
}

}  // namespace
}  // namespace gradwire::server
