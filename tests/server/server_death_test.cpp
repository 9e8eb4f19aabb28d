#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "deaths.hpp"
#include "gradwire/parameter_server.hpp"
#include "server_process.hpp"
#include "tests/support/quick.hpp"

// Servers that are killed come back, and workers go on.
namespace gradwire {
namespace {

using namespace std::chrono_literals;

TEST(ServerDeath, CostsWhatItHadNotSavedAndTheClientSaysHowMuch) {
  const TemporaryFolder folder;
  ServerProcess server(server_options(folder));
  const int kills = quick() ? 4 : 20;
  constexpr int kSteps = 400;
  TestProcess worker([&](const auto& tell) {
    ParameterServerClient client(worker_options({server.address()}, 0, 1));
    std::vector<float> value(100, 0.0F);
    client.init("key", value, {.optimizer = "sgd:lr=1"});
    for (int i = 0; i < kSteps; ++i) {
      step(client, value);
      std::this_thread::sleep_for(2ms);
    }
    std::ostringstream out;
    out << value[0] << ' ' << value[99] << ' ' << client.report().lost_pushes << '\n';
    tell(out.str());
  });
  std::mt19937 random(3);
  for (int i = 0; i < kills; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + random() % 60));
    server.kill();
    server.start();
  }
  std::istringstream line(worker.read_line());
  float first = 0;
  float last = 0;
  int lost = -1;
  line >> first >> last >> lost;
  EXPECT_EQ(first, last);
  EXPECT_EQ(first, static_cast<float>(lost - kSteps)) << lost << " pushes lost";
  // A snapshot is written every 10 clocks, the next one begun while it is.
  EXPECT_LE(lost, 30 * kills);
  EXPECT_TRUE(worker.join());
}

TEST(ServerDeath, OfOneOfTwoIsWaitedForByAllWorkers) {
  const TemporaryFolder folder;
  ServerProcess one(server_options(folder, 0, 2));
  ServerProcess two(server_options(folder, 1, 2));
  std::vector<std::unique_ptr<TestProcess>> workers;
  workers.reserve(3);
  for (int worker = 0; worker < 2; ++worker) {
    workers.push_back(std::make_unique<TestProcess>([&, worker](const auto& tell) {
      auto options = worker_options({one.address(), two.address()}, worker, 2);
      options.push_codec = options.pull_codec = "onebit";
      ParameterServerClient client(options);
      std::vector<float> value(100'000, 0.0F);
      client.init("key", value, {.optimizer = "sgd:lr=1"});
      for (int i = 0; i < 200; ++i) step(client, value);
      std::ostringstream out;
      out.write(reinterpret_cast<const char*>(value.data()),
                static_cast<std::streamsize>(value.size() * sizeof(float)));
      tell(std::to_string(std::hash<std::string>()(out.str())) + "\n");
    }));
  }
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(50ms);
    two.kill();
    two.start();
  }
  const std::string first = workers[0]->read_line();
  EXPECT_FALSE(first.empty());
  EXPECT_EQ(first, workers[1]->read_line()) << "workers at one version hold the same bits";
  for (const auto& worker : workers) EXPECT_TRUE(worker->join());
}

TEST(ServerDeath, DoesNotBringBackTheWaitForWorkersThatHadJoined) {
  const TemporaryFolder folder;
  auto options = server_options(folder);
  options.lease = 300ms;
  options.snapshot_every = 1'000'000;
  ServerProcess server(options);
  TestProcess later([&](const auto& tell) {
    std::raise(SIGSTOP);
    ParameterServerClient client(worker_options({server.address()}, 1, 2));
    std::vector<float> value(10, 0.0F);
    client.init("key", value, {.optimizer = "sgd:lr=1"});
    step(client, value);
    tell("1 step\n");
    while (true) ::pause();
  });
  TestProcess first([&](const auto& tell) {
    ParameterServerClient client(worker_options({server.address()}, 0, 2));
    std::vector<float> value(10, 0.0F);
    client.init("key", value, {.optimizer = "sgd:lr=1"});
    tell("made\n");
    for (int i = 0; i < 10; ++i) step(client, value);
    tell("10 steps\n");
    std::raise(SIGSTOP);
    step(client, value);
    tell("11 steps\n");
  });
  later.await_stop();
  EXPECT_EQ(first.read_line(), "made");
  later.signal(SIGCONT);
  EXPECT_EQ(later.read_line(), "1 step");
  later.kill();
  EXPECT_EQ(first.read_line(), "10 steps");
  first.await_stop();
  server.kill();
  server.start();
  first.signal(SIGCONT);
  EXPECT_EQ(first.read_line(), "11 steps");
  EXPECT_TRUE(first.join());
}

}  // namespace
}  // namespace gradwire
