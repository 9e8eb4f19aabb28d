#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "../support/quick.hpp"
#include "cutting_relay.hpp"
#include "servers.hpp"

// Requests and answers that get lost on the way change nothing, and neither does repeating them.
namespace gradwire {
namespace {

struct Case {
  const char* codec;
  const char* consistency;
  int steps;
};

class CutConnection : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Ways, CutConnection,
                         testing::Values(Case{"none", "bsp", 30}, Case{"onebit", "bsp", 120},
                                         Case{"none", "asp", 30}, Case{"onebit", "ssp:2", 120}));

constexpr int kWorkers = 2;
constexpr std::size_t kCount = 5'000;

/// What the server holds in the end, which workers reach at `address`.
std::vector<float> train(const Servers& servers, const std::string& address, const Case& way) {
  const int steps = quick() ? way.steps / 3 : way.steps;
  std::barrier all_done(kWorkers);  // who leaves earlier leaves the others a larger part
  std::vector<std::thread> workers;
  workers.reserve(kWorkers);
  for (int worker = 0; worker < kWorkers; ++worker) {
    workers.emplace_back([&, worker] {
      auto options = servers.client(worker, kWorkers);
      options.transport = "tcp";
      options.timeout = std::chrono::minutes(5);  // Cuts may happen to come before anything new each time.
      options.servers = {address};
      options.push_codec = options.pull_codec = way.codec;
      options.consistency = parse_consistency(way.consistency);
      ParameterServerClient client(options);
      std::vector<float> value(kCount);
      client.init("key", value, {.optimizer = "sgd:lr=1"});
      std::vector<float> gradient(kCount);
      for (int step = 0; step < steps; ++step) {
        for (std::size_t i = 0; i < kCount; ++i) {
          gradient[i] = static_cast<float>((i + static_cast<std::size_t>(step)) % 7 * (worker + 1));
        }
        Work work = client.push_pull("key", gradient, value);
        client.clock();
        work.wait();
        client.flush();
      }
      all_done.arrive_and_wait();
      EXPECT_EQ(client.report().lost_pushes, 0U);
      EXPECT_EQ(client.report().pushes, static_cast<std::uint64_t>(steps));
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(servers.servers[0].report().pushes, static_cast<std::uint64_t>(kWorkers * steps));
  auto options = servers.client(0, kWorkers);
  options.push_codec = options.pull_codec = way.codec;
  options.consistency = parse_consistency(way.consistency);
  ParameterServerClient observer(options);
  std::vector<float> value(kCount);
  observer.init("key", value, {.optimizer = "sgd:lr=1"});
  return value;
}

TEST_P(CutConnection, ChangesNothing) {
  const Servers undisturbed(1, "tcp");
  const auto expected = train(undisturbed, undisturbed.servers[0].address(), GetParam());
  const Servers servers(1, "tcp");
  // The first value, four bytes an element both ways, has to get through in one piece.
  const CuttingRelay relay(servers.servers[0].address(), 500, 60'000);
  const auto value = train(servers, relay.address(), GetParam());
  EXPECT_GE(relay.cuts(), quick() ? 3 : 10);
  // Sums of small integers have no rounding, so only what is encoded by one bit depends on the order.
  const bool in_step = parse_consistency(GetParam().consistency).is_synchronous();
  if (in_step || GetParam().codec == std::string("none")) {
    EXPECT_EQ(value, expected);
  }
}

}  // namespace
}  // namespace gradwire
