// Where memory is short a request fails, and the server's state is what it was.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "gradwire/parameter_server.hpp"
#include "server/serving.hpp"
#include "server/shard.hpp"
#include "server/version_log.hpp"
#include "server_calls.hpp"
#include "tests/support/short_memory.hpp"
#include "transport/service.hpp"

namespace gradwire::server {
namespace {

/// More than one piece.
constexpr std::size_t kCount = 10'000;

Floats wave(float phase) {
  Floats values(kCount);
  for (std::size_t i = 0; i < kCount; ++i) values[i] = phase * static_cast<float>(i % 7);
  return values;
}

TEST(ServerMemory, AVersionThatGotNoneIsSealedLater) {
  const auto codec = compress::make_codec("onebit");
  std::size_t failures = 0;
  // Some of them find room in the list of frames, and some do not.
  for (int before = 0; before < 40; ++before) {
    bool sealed = false;
    for (std::size_t spared = 0; !sealed; ++spared) {
      VersionLog log(codec, wave(0), 16);
      for (int i = 0; i < before; ++i) log.seal(wave(static_cast<float>(i)));
      const std::uint64_t version = log.version();
      const auto estimate = log.estimate({});
      const Floats held(estimate.begin(), estimate.end());

      sealed = with_short_memory(spared, [&, value = wave(-1)] { log.seal(value); });
      failures += sealed ? 0 : 1;
      if (!sealed) {
        ASSERT_EQ(log.version(), version);
        ASSERT_EQ(Floats(estimate.begin(), estimate.end()), held);
        ASSERT_TRUE(log.since(version)->empty());
        log.seal(wave(-1));
      }
      Floats followed = held;
      ASSERT_TRUE(log.since(version) && log.since(version)->size() == 1);
      codec->decode_add(*log.since(version)->front(), followed.data(), kCount, 1.0F);
      ASSERT_EQ(Floats(estimate.begin(), estimate.end()), followed);
    }
  }
  EXPECT_GT(failures, 2 * 40U);
}

TEST(ServerMemory, InStepTheBitsAreTheSameWhereItWasShort) {
  const auto none = compress::make_codec("none");
  const auto run = [&](std::optional<std::size_t> spared, bool& was_whole) {
    Shard shard({.key = "w", .optimizer = "sgd:lr=0.3", .total = kCount, .first = 0, .count = kCount},
                {.push = none, .pull = compress::make_codec("onebit")}, wave(1));
    for (const std::uint64_t stamp : {0U, 1U, 2U}) {
      for (const std::uint32_t worker : {0U, 1U}) {
        Payload payload = plain(wave(static_cast<float>(stamp + worker)));
        shard.hold(stamp, worker, 1, payload);
      }
    }
    was_whole = !spared || with_short_memory(*spared, [&] { shard.settle(3); });
    shard.settle(3);
    EXPECT_EQ(shard.log().version(), 3U);
    return Floats(shard.estimate().begin(), shard.estimate().end());
  };
  bool was_whole = false;
  const Floats expected = run(std::nullopt, was_whole);
  std::size_t spared = 0;
  do {
    ASSERT_EQ(run(spared++, was_whole), expected);
  } while (!was_whole);
  EXPECT_GT(spared, 10U);
}

/// A server whose thread gets no memory of `kCount` floats while that is short.
struct ShortServer {
  ShortServer() : serving(options()) {
    thread = std::thread([this] {
      const ShortMemory memory([this](std::size_t bytes) {
        const bool fails = is_short && bytes >= kCount * sizeof(float);
        failures += fails ? 1 : 0;
        return fails;
      });
      serving.run();
    });
  }
  ~ShortServer() {
    serving.stop();
    thread.join();
  }
  ShortServer(const ShortServer&) = delete;
  ShortServer& operator=(const ShortServer&) = delete;

  static ParameterServerOptions options() {
    ParameterServerOptions options;
    options.job = "servers";
    return options;
  }
  [[nodiscard]] ParameterServerClientOptions client(int worker, const std::string& pull_codec) const {
    ParameterServerClientOptions options;
    options.servers = {serving.address()};
    options.job = "servers";
    options.worker = worker;
    options.pull_codec = pull_codec;
    options.timeout = std::chrono::seconds(20);
    return options;
  }

  std::atomic<bool> is_short{false};
  std::atomic<int> failures{0};
  Serving serving;
  std::thread thread;
};

TEST(ServerMemory, AServerThatCannotGoOnSaysSoAndLeavesItsPlace) {
  std::atomic<bool> is_short{false};
  auto options = ShortServer::options();
  Serving serving(options);
  options.address = serving.address();
  std::optional<Error> failure;
  std::thread thread([&] {
    const ShortMemory memory([&](std::size_t) { return is_short.load(); });
    try {
      serving.run();
    } catch (const Error& error) {
      failure = error;
    }
  });
  is_short = true;
  // Whoever calls makes it take memory.
  std::thread caller([&] {
    try {
      static_cast<void>(transport::call_service(
          {.address = options.address, .job = options.job, .timeout = std::chrono::seconds(20)}));
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch)
    }
  });
  thread.join();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code(), ErrorCode::system);
  Serving next(options);
  // The caller may have heard of the end, or look for the next one.
  std::thread serves([&] { next.run(); });
  caller.join();
  next.stop();
  serves.join();
}

TEST(ServerMemory, AKnownKeysValueTakesNone) {
  ShortServer server;
  Floats value = wave(1);
  ParameterServerClient first(server.client(0, "none"));
  first.init("key", value);
  server.is_short = true;
  ParameterServerClient second(server.client(1, "none"));
  Floats other(kCount);
  second.init("key", other);
  EXPECT_EQ(other, value);
  EXPECT_EQ(server.failures, 0);
}

TEST(ServerMemory, AWorkerForWhoseAnswerThereIsNoneEndsNoServer) {
  ShortServer server;
  Floats value = wave(1);
  ParameterServerClient first(server.client(0, "onebit"));
  first.init("key", value);
  server.is_short = true;
  ParameterServerClient second(server.client(1, "onebit"));
  Floats other(kCount);
  std::thread waiting([&] { second.init("key", other); });
  while (server.failures == 0) std::this_thread::yield();
  server.is_short = false;
  waiting.join();
  EXPECT_EQ(other, wave(1));
}

}  // namespace
}  // namespace gradwire::server
