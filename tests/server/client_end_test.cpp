#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cutting_relay.hpp"
#include "expect_error.hpp"
#include "servers.hpp"

// What a client is told when it does not get what it asked for, and how it ends.
namespace gradwire {
namespace {

using namespace std::chrono_literals;
using server::expect_error;
using Clock = std::chrono::steady_clock;

TEST(ClientEnd, FlushTellsOnceOfAPushThatWasRefusedBefore) {
  const Servers servers(1);
  ParameterServerClient client(servers.client(0, 1));
  std::vector<float> value(100);
  std::vector<float> gradient(100);
  client.init("key", value);
  client.push_pull("key", gradient, value).wait();
  Work refused = client.push("key", gradient);
  expect_error(ErrorCode::invalid_argument, "has finished that step", [&] { refused.wait(); });
  client.clock();
  client.push("key", gradient).wait();
  expect_error(ErrorCode::invalid_argument, "has finished that step", [&] { client.flush(); });
  client.flush();
}

TEST(ClientEnd, PushPullTellsOfItsPush) {
  const Servers servers(1);
  ParameterServerClient client(servers.client(0, 1));
  std::vector<float> value(100);
  std::vector<float> gradient(100);
  client.init("key", value);
  client.push_pull("key", gradient, value).wait();
  Work again = client.push_pull("key", gradient, value);
  expect_error(ErrorCode::invalid_argument, "has finished that step", [&] { again.wait(); });
}

TEST(ClientEnd, WhereOneOfTwoServersIsGoneEveryRequestStillHasAWork) {
  Servers servers(2);
  auto options = servers.client(0, 1);
  options.timeout = 2s;
  options.push_codec = options.pull_codec = "onebit";
  ParameterServerClient client(options);
  std::vector<float> value(40'000);
  std::vector<float> gradient(40'000, 1.0F);
  client.init("key", value);
  servers.servers[1].stop();
  Work unanswered = client.push("key", gradient);
  expect_error(ErrorCode::timeout, "server 1", [&] { unanswered.wait(); });
  const auto lost = [&] {
    const auto residual = client.residual("key");
    return std::ranges::count_if(residual, [](float left) { return left >= 1.0F; });
  };
  Work push = client.push("key", gradient);
  expect_error(ErrorCode::timeout, "server 1", [&] { push.wait(); });
  EXPECT_GT(lost(), 10'000) << "what could not be sent is pushed later";
  EXPECT_LT(lost(), 30'000) << "and the other server took its part";
  Work pull = client.pull("key", value);
  expect_error(ErrorCode::timeout, "server 1", [&] { pull.wait(); });
  std::vector<float> other(40'000);
  expect_error(ErrorCode::timeout, "server 1", [&] { client.init("other", other); });
  expect_error(ErrorCode::timeout, "server 1", [&] { client.clock(); });
  EXPECT_EQ(client.now(), 1U);
}

TEST(ClientEnd, EndsWhatIsUnanswered) {
  const Servers servers(2);
  std::vector<float> value(40'000);
  std::vector<float> gradient(40'000, 1.0F);
  std::optional<ParameterServerClient> client(servers.client(0, 2));
  client->init("key", value);
  Work pull = client->push_pull("key", gradient, value);  // The other worker never comes.
  client->clock();
  const auto begin = Clock::now();
  client.reset();
  EXPECT_LT(Clock::now() - begin, 9s) << "sessions end one after another";
  expect_error(ErrorCode::peer_lost, "has ended", [&] { pull.wait(); });
}

TEST(ClientEnd, CallsAServerThatAlwaysHangsUpNowAndThenUntilTheTimeout) {
  const Servers servers(1, "tcp");
  const CuttingRelay relay(servers.servers[0].address(), 20'000, 20'000);
  auto options = servers.client(0, 1);
  options.transport = "tcp";
  options.servers = {relay.address()};
  options.timeout = 2s;
  ParameterServerClient client(options);
  std::vector<float> value(100'000);
  const auto begin = Clock::now();
  expect_error(ErrorCode::timeout, "did not answer worker 0 for 2 s", [&] { client.init("key", value); });
  EXPECT_GE(Clock::now() - begin, 2s);
  EXPECT_GT(relay.cuts(), 3);
  EXPECT_LT(relay.cuts(), 60);
}

TEST(ClientEnd, ANumberThatIsTakenCanBeWaitedFor) {
  const Servers servers(1);
  auto options = servers.client(0, 1);
  options.waits_for_number = true;
  std::optional<ParameterServerClient> first(options);
  options.timeout = 300ms;
  expect_error(ErrorCode::invalid_argument, "the number of worker 0 is taken",
               [&] { const ParameterServerClient client(options); });
  options.consistency = parse_consistency("asp");
  options.timeout = 20s;
  const auto begin = Clock::now();
  expect_error(ErrorCode::invalid_argument, "asp", [&] { const ParameterServerClient client(options); });
  EXPECT_LT(Clock::now() - begin, 10s) << "what cannot change is said at once";
  options = servers.client(0, 1);
  options.waits_for_number = true;
  std::thread second([&] { const ParameterServerClient client(options); });
  first.reset();
  second.join();
}

TEST(ClientThreads, EachWithAKeyOfItsOwn) {
  constexpr int kThreads = 3;
  constexpr int kPushes = 200;
  const Servers servers(2);
  auto options = servers.client(0, 1);
  options.consistency = parse_consistency("asp");
  options.push_codec = "onebit";
  ParameterServerClient client(options);
  std::vector<std::vector<float>> values(kThreads, std::vector<float>(5'000));
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      auto& value = values[static_cast<std::size_t>(thread)];
      const std::string key = "key" + std::to_string(thread);
      std::vector<float> gradient(value.size(), 1.0F);
      client.init(key, value, {.optimizer = "sgd:lr=1"});
      for (int i = 0; i < kPushes; ++i) {
        if (i % 10 == 0) {
          client.push_pull(key, gradient, value).wait();
        } else {
          client.push(key, gradient).wait();
        }
        if (i % 20 == 0) client.flush();
        EXPECT_EQ(client.residual(key)[0], 0.0F);
      }
      client.pull(key, value).wait();
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& value : values) EXPECT_FLOAT_EQ(value[0], -1.0F * kPushes);
}

}  // namespace
}  // namespace gradwire
