#include "transport/tcp/token_bucket.hpp"

#include <gtest/gtest.h>

#include <random>

#include "transport/transport.hpp"

namespace gradwire::transport {
namespace {

using namespace std::chrono_literals;
using Time = TokenBucket::Time;

constexpr double kRate = 125e6;  // 1 Gb/s: 8 ns a byte
constexpr std::size_t kBurst = 3000;

/// Moves `bytes` as soon as the bucket allows, looking again `lateness` after it was due; returns when the
/// last one went.
template <typename Lateness>
Time transfer(TokenBucket& bucket, std::size_t bytes, Time now, Lateness lateness) {
  bucket.begin_waiting();
  while (bytes > 0) {
    const std::size_t size = std::min(bytes, bucket.allowed(bytes, now));
    if (size > 0) bucket.take(size, now);
    bytes -= size;
    if (bytes > 0) now = std::max(now, bucket.when(bytes)) + lateness();
  }
  bucket.end_waiting();
  return now;
}

double seconds_for(std::size_t bytes, double rate) { return static_cast<double>(bytes) / rate; }

double seconds_between(Time a, Time b) { return std::chrono::duration<double>(b - a).count(); }

TEST(TokenBucket, AfterSilenceOnlyTheBurstIsFree) {
  for (const auto silence : {0s, 1s, 1000s}) {
    TokenBucket bucket(kRate);
    const Time begin = std::chrono::steady_clock::now() + silence;
    bucket.begin_waiting();
    EXPECT_LE(bucket.allowed(1'000'000, begin), kBurst + 1);
    EXPECT_GE(bucket.allowed(1'000'000, begin), kBurst - 1);
  }
}

TEST(TokenBucket, LongStreamsKeepTheRate) {
  TokenBucket bucket(kRate);
  const Time begin = std::chrono::steady_clock::now() + 1s;
  const Time end = transfer(bucket, 100'000'000, begin, [] { return 0ns; });
  EXPECT_NEAR(seconds_between(begin, end), seconds_for(100'000'000 - kBurst, kRate), 1e-6);
}

TEST(TokenBucket, LateWakeUpsAreCaughtUp) {
  TokenBucket bucket(kRate);
  std::mt19937 random(5);
  const Time begin = std::chrono::steady_clock::now() + 1s;
  const Time end =
      transfer(bucket, 100'000'000, begin, [&] { return std::chrono::microseconds(random() % 600); });
  EXPECT_NEAR(seconds_between(begin, end), seconds_for(100'000'000, kRate), 2e-3);
}

TEST(TokenBucket, MoreThanAMillisecondLateIsLost) {
  TokenBucket bucket(kRate);
  const Time begin = std::chrono::steady_clock::now() + 1s;
  bucket.begin_waiting();
  bucket.take(bucket.allowed(1'000'000, begin), begin);
  EXPECT_NEAR(static_cast<double>(bucket.allowed(10'000'000, begin + 50ms)), 1e-3 * kRate, 2);
}

TEST(TokenBucket, NobodyWaitingEarnsNothing) {
  TokenBucket bucket(kRate);
  const Time begin = std::chrono::steady_clock::now() + 1s;
  const Time end = transfer(bucket, 100'000, begin, [] { return 0ns; });
  bucket.begin_waiting();
  EXPECT_LE(bucket.allowed(1'000'000, end + 700us), kBurst + 1);
}

TEST(TokenBucket, WhoIsToldLateIsNotBehind) {
  TokenBucket bucket(kRate);
  const Time begin = std::chrono::steady_clock::now() + 1s;
  const Time told = begin + 200us;
  bucket.begin_waiting();
  const std::size_t burst = bucket.allowed(1'000'000, told);
  EXPECT_LE(burst, kBurst + 1);
  bucket.take(burst, begin);
  EXPECT_FALSE(bucket.is_silent());
  EXPECT_EQ(bucket.allowed(1'000'000, told), 0);  // a run is longer
  EXPECT_NEAR(static_cast<double>(bucket.allowed(20'000, told)), 200e-6 * kRate, 2);
}

TEST(TokenBucket, BytesMoveInRunsNotInDribbles) {
  TokenBucket bucket(kRate);
  Time now = std::chrono::steady_clock::now() + 1s;
  bucket.begin_waiting();
  int runs = 0;
  std::size_t left = 12'500'000;  // a tenth of a second
  while (left > 0) {
    const std::size_t size = std::min(left, bucket.allowed(left, now));
    bucket.take(size, now);
    left -= size;
    runs += size > 0 ? 1 : 0;
    now += 1us;  // somebody who polls all the time
  }
  EXPECT_LT(runs, 500);
}

TEST(TokenBucket, TheLimitsKeepTheirRates) {
  for (const double rate : {kMinLinkRate, kMaxLinkRate}) {
    TokenBucket bucket(rate);
    const auto bytes = static_cast<std::size_t>(10 * rate);
    const Time begin = std::chrono::steady_clock::now() + 100s;
    const Time end = transfer(bucket, bytes, begin, [] { return 0ns; });
    const auto burst = std::min(kBurst, bytes);
    EXPECT_NEAR(seconds_between(begin, end), seconds_for(bytes - burst, rate), 1e-3);
  }
}

TEST(TokenBucket, SlowRatesLetAPacketPass) {
  TokenBucket bucket(1000);  // 3 s for the burst
  const Time begin = std::chrono::steady_clock::now() + 10s;
  const Time end = transfer(bucket, 5000, begin, [] { return 0ns; });
  EXPECT_NEAR(seconds_between(begin, end), 2.0, 1e-3);
}

}  // namespace
}  // namespace gradwire::transport
