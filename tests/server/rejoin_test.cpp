#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server_process.hpp"

namespace gradwire {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kCount = 5'000;

ParameterServerClientOptions worker_options(const ServerProcess& server, int worker) {
  ParameterServerClientOptions options;
  options.servers = {server.address()};
  options.job = "rejoin";
  options.worker = worker;
  options.workers = 2;
  options.push_codec = options.pull_codec = "onebit";
  options.timeout = 60s;
  return options;
}

std::vector<float> gradient_of(int worker, int step) {
  std::vector<float> gradient(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    gradient[i] = std::sin(static_cast<float>(i * 7 + static_cast<std::size_t>(step * 3 + worker)));
  }
  return gradient;
}

void train(ParameterServerClient& client, int worker, int steps, std::vector<float>& value) {
  client.init("key", value, {.optimizer = "sgd:lr=0.1"});
  for (int step = 0; step < steps; ++step) {
    auto gradient = gradient_of(worker, step);
    Work pull = client.push_pull("key", gradient, value);
    client.clock();
    pull.wait();
  }
  client.flush();
}

std::string hash_of(const std::vector<float>& value) {
  const std::string_view bytes(reinterpret_cast<const char*>(value.data()), value.size() * sizeof(float));
  return std::to_string(std::hash<std::string_view>()(bytes));
}

std::string end_of(Work work) {
  try {
    work.wait();
  } catch (const Error& error) {
    return std::string(to_string(error.code()));
  }
  return "taken";
}

TEST(Rejoin, GoesOnAtTheServersClockWithTheirBitsAndAllThatWasRefused) {
  ParameterServerOptions options;
  options.job = "rejoin";
  options.lease = 1s;
  const ServerProcess server(options);
  TestProcess stopped([&](const auto& tell) {
    ParameterServerClient client(worker_options(server, 0));
    std::vector<float> value(kCount);
    train(client, 0, 3, value);
    std::raise(SIGSTOP);
    auto due = client.residual("key");
    auto gradient = gradient_of(0, 3);
    for (std::size_t i = 0; i < kCount; ++i) due[i] += gradient[i];
    tell("push " + end_of(client.push("key", gradient)) + "\n");
    tell("pull " + end_of(client.pull("key", value)) + "\n");
    const auto left = client.residual("key");
    float off = 0;
    for (std::size_t i = 0; i < kCount; ++i) off = std::max(off, std::abs(left[i] - due[i]));
    tell(off < 1e-5F ? "nothing is lost\n" : "off by " + std::to_string(off) + "\n");
    client.rejoin();
    tell("step " + std::to_string(client.now()) + "\n");
    client.pull("key", value).wait();
    tell(hash_of(value) + "\n");
    tell("push " + end_of(client.push("key", gradient)) + "\n");
    try {
      client.flush();
    } catch (const Error& error) {
      tell(std::string("the flush tells of ") + to_string(error.code()).data() + "\n");
    }
    client.flush();
  });
  TestProcess other([&](const auto& tell) {
    ParameterServerClient client(worker_options(server, 1));
    std::vector<float> value(kCount);
    train(client, 1, 20, value);
    tell(hash_of(value) + "\n");
    while (true) ::pause();
  });
  stopped.await_stop();
  const std::string hash = other.read_line();
  stopped.signal(SIGCONT);
  EXPECT_EQ(stopped.read_line(), "push peer_lost");
  EXPECT_EQ(stopped.read_line(), "pull peer_lost");
  EXPECT_EQ(stopped.read_line(), "nothing is lost");
  EXPECT_EQ(stopped.read_line(), "step 20");
  EXPECT_EQ(stopped.read_line(), hash) << "workers at one version hold the same bits";
  EXPECT_EQ(stopped.read_line(), "push taken");
  EXPECT_EQ(stopped.read_line(), "the flush tells of peer_lost");
  EXPECT_TRUE(stopped.join());
}

}  // namespace
}  // namespace gradwire
