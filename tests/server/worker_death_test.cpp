#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "deaths.hpp"
#include "gradwire/parameter_server.hpp"
#include "server/placement.hpp"
#include "server_process.hpp"

// Workers that are killed or stopped, and those that come back.
namespace gradwire {
namespace {

using namespace std::chrono_literals;

TEST(WorkerDeath, HoldsTheOthersBackForALeaseAtMost) {
  const TemporaryFolder folder;
  ServerProcess server(server_options(folder));
  const auto train = [&](int worker, int steps, const auto& tell) {
    ParameterServerClient client(worker_options({server.address()}, worker, 3));
    std::vector<float> value(1000, 0.0F);
    client.init("key", value, {.optimizer = "sgd:lr=1"});
    for (int i = 0; i < steps; ++i) {
      step(client, value);
      tell("step\n");
    }
    tell(std::to_string(value[0]) + "\n");
  };
  std::vector<std::unique_ptr<TestProcess>> workers;
  workers.reserve(3);
  for (int worker = 0; worker < 3; ++worker) {
    workers.push_back(
        std::make_unique<TestProcess>([&, worker](const auto& tell) { train(worker, 50, tell); }));
  }
  for (int i = 0; i < 20; ++i) ASSERT_EQ(workers[2]->read_line(), "step");
  workers[2]->kill();
  const auto killed = std::chrono::steady_clock::now();
  for (int worker = 0; worker < 2; ++worker) {
    for (int i = 0; i < 50; ++i) ASSERT_EQ(workers[static_cast<std::size_t>(worker)]->read_line(), "step");
    EXPECT_EQ(workers[static_cast<std::size_t>(worker)]->read_line(), "-50.000000");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - killed, 10s);
  // It may come back under its number, and begins with the servers' values and clock.
  TestProcess again([&](const auto& tell) { train(2, 5, tell); });
  for (int i = 0; i < 5; ++i) ASSERT_EQ(again.read_line(), "step");
  EXPECT_EQ(again.read_line(), "-55.000000");
}

TEST(WorkerDeath, FreesItsNumberAlsoWhereItWasFarAhead) {
  constexpr std::size_t kCount = 10;
  constexpr std::uint64_t kSteps = 20;
  const TemporaryFolder folder;
  ServerProcess server(server_options(folder));
  // The other one of the two never comes: the clock stays where it is.
  TestProcess ahead([&](const auto& tell) {
    ParameterServerClient client(worker_options({server.address()}, 0, 2));
    std::vector<float> value(kCount, 0.0F);
    client.init("key", value);
    for (std::uint64_t i = 0; i < kSteps; ++i) {
      (void)client.push("key", value);
      client.clock();
    }
    // A push and a clock of each step, of which the server leaves some unread.
    while (client.report().wire_bytes_sent < kSteps * 262) {
      std::this_thread::sleep_for(1ms);
    }
    tell("sent\n");
    while (true) ::pause();
  });
  ASSERT_EQ(ahead.read_line(), "sent");
  ahead.kill();
  auto options = worker_options({server.address()}, 0, 2);
  options.waits_for_number = true;
  options.timeout = 20s;
  ParameterServerClient again(options);
  EXPECT_LE(again.now(), kSteps);
}

std::string last_snapshot(const std::string& folder) {
  std::string last;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".snapshot") last = std::max(last, entry.path().string());
  }
  return last;
}

/// Worker 0 stops; the other one goes on alone, to step 20 and beyond, and dies with the server. Then worker
/// 0 asks with its clock at 3, while there is nobody to take it, and is met by a server that is far ahead.
TEST(WorkerDeath, IsToldToAWorkerWhoseConnectionWasLostAsWell) {
  const TemporaryFolder folder;
  auto options = server_options(folder);
  options.lease = 300ms;
  options.snapshot_every = 1;
  ServerProcess server(options);
  TestProcess stopped([&](const auto& tell) {
    ParameterServerClient client(worker_options({server.address()}, 0, 2));
    std::vector<float> value(10, 0.0F);
    client.init("key", value, {.optimizer = "sgd:lr=1"});
    for (int i = 0; i < 3; ++i) step(client, value);
    std::raise(SIGSTOP);
    std::vector<float> ones(10, 1.0F);
    Work missed = client.push_pull("key", ones, value);
    client.clock();
    tell("asked\n");
    try {
      missed.wait();
      tell("taken\n");
    } catch (const Error& error) {
      tell(std::string(to_string(error.code())) + "\n");
    }
    try {
      client.flush();
    } catch (const Error& error) {
      tell(std::string(to_string(error.code())) + "\n");
    }
    client.rejoin();
    const std::uint64_t granted = client.now();
    client.pull("key", value).wait();
    step(client, value);
    // Each step so far took 1 away.
    const bool is_right = granted >= 20 && -value[0] == static_cast<float>(granted + 1);
    tell(is_right ? "right\n" : std::to_string(value[0]) + " after step " + std::to_string(granted) + "\n");
  });
  TestProcess other([&](const auto& tell) {
    ParameterServerClient client(worker_options({server.address()}, 1, 2));
    std::vector<float> value(10, 0.0F);
    client.init("key", value, {.optimizer = "sgd:lr=1"});
    for (int i = 0; i < 20; ++i) step(client, value);
    tell("20 steps\n");
    while (true) step(client, value);
  });
  stopped.await_stop();
  EXPECT_EQ(other.read_line(), "20 steps");
  // The second snapshot from now was begun from now on.
  for (int i = 0; i < 2; ++i) {
    const std::string before = last_snapshot(options.snapshot_dir);
    while (last_snapshot(options.snapshot_dir) == before) std::this_thread::sleep_for(1ms);
  }
  server.kill();
  other.kill();
  stopped.signal(SIGCONT);
  EXPECT_EQ(stopped.read_line(), "asked");
  server.start();
  EXPECT_EQ(stopped.read_line(), "peer_lost");
  EXPECT_EQ(stopped.read_line(), "peer_lost") << "of the flush";
  EXPECT_EQ(stopped.read_line(), "right");
  EXPECT_TRUE(stopped.join());
}

TEST(WorkerDeath, WhosePlaceWasTakenMakesNoKeys) {
  const TemporaryFolder folder;
  auto options = server_options(folder);
  options.lease = 300ms;
  options.transport = "tcp";  // which takes frames though their receiver is stopped
  ServerProcess server(options);
  TestProcess stopped([&](const auto& tell) {
    ParameterServerClient client(worker_options({server.address()}, 0, 1));
    std::vector<float> value(10, 1.0F);
    std::raise(SIGSTOP);
    try {
      client.init("key", value, {.optimizer = "sgd:lr=5"});
      tell("made\n");
    } catch (const Error& error) {
      tell(std::string(error.what()) + "\n");
    }
  });
  stopped.await_stop();
  auto other = worker_options({server.address()}, 0, 1);
  other.consistency = parse_consistency("asp");
  std::optional<ParameterServerClient> client;
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!client) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    try {
      client.emplace(other);
    } catch (const Error& error) {
      // As long as the lease lasts.
      ASSERT_THAT(error.what(), testing::HasSubstr("asked to join a job with bsp"));
    }
  }
  stopped.signal(SIGCONT);
  EXPECT_THAT(stopped.read_line(), testing::HasSubstr("another process has its number now"));
  std::vector<float> value(10);
  client->init("key", value, {.optimizer = "sgd:lr=1"});
  EXPECT_TRUE(stopped.join());
}

/// The name of a small key that this one of two servers has.
std::string key_on(std::uint32_t server) {
  for (int i = 0;; ++i) {
    std::string name = "key " + std::to_string(i);
    if (server::place_key(name, 10, 2, 1)[0].server == server) return name;
  }
}

TEST(WorkerDeath, FlushWaitsForAllPushesAlsoWhereOneWasRefused) {
  const TemporaryFolder folder;
  auto options = server_options(folder, 0, 2);
  options.lease = 300ms;
  ServerProcess one(options);
  options.index = 1;
  ServerProcess two(options);
  const auto make_client = [&](int worker, std::vector<float>& value) {
    ParameterServerClient client(worker_options({one.address(), two.address()}, worker, 2));
    for (const std::uint32_t server : {0U, 1U}) client.init(key_on(server), value);
    return client;
  };
  TestProcess worker([&](const auto& tell) {
    std::vector<float> ones(10, 1.0F);
    ParameterServerClient client = make_client(0, ones);
    std::raise(SIGSTOP);
    (void)client.push(key_on(0), ones);
    const Work last = client.push(key_on(1), ones);
    tell("pushed\n");
    try {
      client.flush();
      tell("nothing was refused\n");
    } catch (const Error& error) {
      tell(std::string(to_string(error.code())) +
           (last.done() ? ", and all done\n" : ", and one under way\n"));
    }
  });
  TestProcess other([&](const auto& tell) {
    std::vector<float> value(10, 1.0F);
    ParameterServerClient client = make_client(1, value);
    client.clock();
    client.pull(key_on(0), value).wait();
    tell("alone\n");
    while (true) ::pause();
  });
  worker.await_stop();
  // Nobody holds it back on the first server any more.
  ASSERT_EQ(other.read_line(), "alone");
  two.signal(SIGSTOP);
  worker.signal(SIGCONT);
  ASSERT_EQ(worker.read_line(), "pushed");
  two.signal(SIGCONT);
  EXPECT_EQ(worker.read_line(), "peer_lost, and all done");
  EXPECT_TRUE(worker.join());
}

}  // namespace
}  // namespace gradwire
