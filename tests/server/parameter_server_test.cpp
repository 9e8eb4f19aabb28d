#include "gradwire/parameter_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <thread>
#include <vector>

#include "servers.hpp"

// Servers and workers of one process, over the transports that processes use.
namespace gradwire {
namespace {

using testing::Each;
using testing::FloatEq;

class EveryTransport : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, EveryTransport, testing::Values("shm", "tcp"));

TEST_P(EveryTransport, WorkersInStepGetTheMean) {
  constexpr int kWorkers = 3;
  const Servers servers(2, GetParam());
  std::vector<std::thread> workers;
  workers.reserve(kWorkers);
  for (int worker = 0; worker < kWorkers; ++worker) {
    workers.emplace_back([&, worker] {
      auto options = servers.client(worker, kWorkers);
      options.transport = GetParam();
      ParameterServerClient client(options);
      std::vector<float> large(50'000, 1.0F);
      std::vector<float> small(10, 2.0F);
      client.init("large", large, {.optimizer = "sgd:lr=0.5"});
      client.init("small", small, {.optimizer = "sgd:lr=0.5"});
      for (int step = 0; step < 20; ++step) {
        std::vector<float> gradient(50'000, static_cast<float>(worker));
        std::vector<float> little(10, 1.0F);
        Work one = client.push_pull("large", gradient, large);
        Work two = client.push_pull("small", little, small);
        client.clock();
        one.wait();
        two.wait();
        ASSERT_THAT(large, Each(FloatEq(1.0F - 0.5F * static_cast<float>(step + 1))));
        ASSERT_THAT(small, Each(FloatEq(2.0F - 0.5F * static_cast<float>(step + 1))));
      }
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(servers.servers[0].report().repeated_pushes, 0U);
}

TEST_P(EveryTransport, WhoRunsAheadIsHeldUp) {
  constexpr int kSteps = 40;
  constexpr std::uint64_t kAhead = 17;
  const Servers servers(1, GetParam());
  std::vector<float> ones(50'000, 1.0F);
  std::vector<ParameterServerClient> clients;
  std::vector<std::vector<float>> values(2, std::vector<float>(ones.size()));
  for (int worker = 0; worker < 2; ++worker) {
    auto options = servers.client(worker, 2);
    options.transport = GetParam();
    clients.emplace_back(options);
    clients.back().init("key", values[static_cast<std::size_t>(worker)], {.optimizer = "sgd:lr=1"});
  }
  std::vector<Work> pushes;
  for (int step = 0; step < kSteps; ++step) {
    pushes.push_back(clients[0].push("key", ones));
    clients[0].clock();
  }
  const auto taken = [&] { return servers.servers[0].report().pushes; };
  pushes[kAhead - 1].wait();
  for (int step = 0; step < kSteps; ++step) {
    EXPECT_LE(taken(), kAhead + 2 * static_cast<std::uint64_t>(step));
    Work work = clients[1].push_pull("key", ones, values[1]);
    clients[1].clock();
    work.wait();
    clients[1].flush();
    EXPECT_FLOAT_EQ(values[1][0], static_cast<float>(-step - 1));
  }
  clients[0].flush();
  EXPECT_EQ(taken(), 2U * kSteps);
}

TEST(ParameterServer, MayBeStoppedByManyAtATime) {
  for (int i = 0; i < 50; ++i) {
    ParameterServer server({.job = "servers"});
    std::barrier begin(3);
    std::vector<std::thread> stopping;
    stopping.reserve(3);
    for (int thread = 0; thread < 3; ++thread) {
      stopping.emplace_back([&] {
        begin.arrive_and_wait();
        server.stop();
        EXPECT_FALSE(server.is_serving());
      });
    }
    for (auto& thread : stopping) thread.join();
  }
}

}  // namespace
}  // namespace gradwire
