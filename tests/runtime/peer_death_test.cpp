#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "gradwire/communicator.hpp"
#include "gradwire/reducer.hpp"

namespace gradwire {
namespace {

constexpr int kRanks = 4;
constexpr int kVictim = 2;
constexpr int kNamedTheVictim = 42;

/// A rank in a process of its own: trains for ever, until somebody dies. Returns its exit status.
int live(int rank, const std::string& transport, const std::string& store_url, const std::string& job) {
  try {
    CommunicatorOptions options;
    options.rank = rank;
    options.world_size = kRanks;
    options.job = job;
    options.store_url = store_url;
    options.transport = transport;
    options.timeout = std::chrono::seconds(60);
    Communicator communicator(options);
    std::vector<float> weights(300'000);
    Reducer reducer(communicator, {{"weights", std::span(weights)}}, {.codec = "onebit"});
    for (int step = 0;; ++step) {
      if (rank == kVictim && step == 50) {
        reducer.ready(0);
        ::raise(SIGKILL);
      }
      for (std::size_t i = 0; i < weights.size(); ++i)
        weights[i] = static_cast<float>((i * 7 + step) % 13) - 6;
      reducer.wait();
    }
  } catch (const Error& error) {
    return error.code() == ErrorCode::peer_lost && error.peer() == kVictim ? kNamedTheVictim : 1;
  } catch (...) {
    return 2;
  }
}

class PeerDeath : public testing::TestWithParam<const char*> {};

TEST_P(PeerDeath, EndsTheStepOnEverySurvivorWithTheNameOfTheDead) {
  const std::string job = "peer-death-" + std::to_string(::getpid()) + GetParam();
  const std::string store = "unix://gradwire-test-" + job;
  std::vector<pid_t> children;
  for (int rank = 0; rank < kRanks; ++rank) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::alarm(60);
      ::_exit(live(rank, GetParam(), store, job));
    }
    children.push_back(child);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(children[kVictim], &status, 0), children[kVictim]);
  EXPECT_TRUE(WIFSIGNALED(status));
  const auto died = std::chrono::steady_clock::now();
  for (int rank = 0; rank < kRanks; ++rank) {
    if (rank == kVictim) continue;
    ASSERT_EQ(::waitpid(children[static_cast<std::size_t>(rank)], &status, 0),
              children[static_cast<std::size_t>(rank)]);
    ASSERT_TRUE(WIFEXITED(status)) << "rank " << rank;
    EXPECT_EQ(WEXITSTATUS(status), kNamedTheVictim) << "rank " << rank;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - died, std::chrono::seconds(10));
}

INSTANTIATE_TEST_SUITE_P(Transports, PeerDeath, testing::Values("shm", "tcp", "auto"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace gradwire
