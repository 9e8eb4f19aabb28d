#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "gradwire/communicator.hpp"
#include "gradwire/inspect.hpp"
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

class PeerDeath : public testing::TestWithParam<std::string> {};

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

/// A process that is killed and waited for in the end, stopped or not.
class Child {
 public:
  explicit Child(const std::function<int()>& body) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::_exit(body());
  }
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// The status when it stops, or ends; -1 without a process.
  int wait() {
    int status = -1;
    if (pid_ > 0 && ::waitpid(pid_, &status, WUNTRACED) == pid_ && !WIFSTOPPED(status)) pid_ = -1;
    return status;
  }

 private:
  pid_t pid_;
};

constexpr std::chrono::seconds kPatience{3};
constexpr int kTimedOut = 43;

/// Reduces for ever, but for rank 0, which serves the store and stops.
int live_until_the_store_stops(int rank, const std::string& transport, const std::string& job) {
  try {
    CommunicatorOptions options;
    options.rank = rank;
    options.world_size = 3;
    options.job = job;
    options.store_url = "unix://gradwire-test-" + job;
    options.transport = transport;
    options.timeout = kPatience;
    Communicator communicator(options);
    std::vector<float> values(1000);
    for (int step = 0;; ++step) {
      if (rank == 0 && step == 50) ::raise(SIGSTOP);
      communicator.allreduce(std::span(values));
    }
  } catch (const Error& error) {
    const bool says_why = std::string(error.what()).find("the store") != std::string::npos;
    return error.code() == ErrorCode::timeout && says_why ? kTimedOut : 1;
  } catch (...) {
    return 2;
  }
}

class StoppedRank : public testing::TestWithParam<std::string> {};

TEST_P(StoppedRank, EndsTheOthersSoonAfterTheTimeoutThoughItServesTheStore) {
  const std::string job = "stopped-rank-" + std::to_string(::getpid()) + GetParam();
  Child stopping([&] { return live_until_the_store_stops(0, GetParam(), job); });
  Child one([&] { return live_until_the_store_stops(1, GetParam(), job); });
  Child two([&] { return live_until_the_store_stops(2, GetParam(), job); });
  ASSERT_TRUE(WIFSTOPPED(stopping.wait()));
  const auto stopped = std::chrono::steady_clock::now();
  for (Child* survivor : {&one, &two}) {
    const int status = survivor->wait();
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), kTimedOut);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - stopped, kPatience + std::chrono::seconds(12));
}

/// All that connect processes, but MPI, which has to start them itself and ends them all when one dies.
std::vector<std::string> process_transports() {
  auto transports = inspect::transports();
  std::erase(transports, "inproc");
  std::erase(transports, "mpi");
  transports.emplace_back("auto");
  return transports;
}

INSTANTIATE_TEST_SUITE_P(Transports, StoppedRank, testing::ValuesIn(process_transports()),
                         [](const auto& instance) { return instance.param; });
INSTANTIATE_TEST_SUITE_P(Transports, PeerDeath, testing::ValuesIn(process_transports()),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace gradwire
