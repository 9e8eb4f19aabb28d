#include "gradwire/store.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "fresh_url.hpp"
#include "gradwire/error.hpp"

namespace gradwire::rendezvous {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class EveryStore : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (GetParam() == std::string("tcp6") && !has_ipv6())
      GTEST_SKIP() << "nobody can listen at ::1 on this host";
  }
};
INSTANTIATE_TEST_SUITE_P(Kinds, EveryStore,
                         testing::Values("tcp4", "tcp6", "localhost", "window", "unix", "file"),
                         [](const auto& kind) { return std::string(kind.param); });

/// What a rank does in a rendezvous: says where it is and learns where all others are.
bool meet(Store& store, int rank, int ranks) {
  store.set(fmt::format("address/{}", rank), fmt::format("rank {} is here", rank));
  for (int peer = 0; peer < ranks; ++peer) {
    if (store.get(fmt::format("address/{}", peer), 20s) != fmt::format("rank {} is here", peer)) return false;
  }
  // Rank 0 serves: it leaves last.
  store.set(fmt::format("done/{}", rank), "");
  for (int peer = 0; rank == 0 && peer < ranks; ++peer) {
    if (!store.get(fmt::format("done/{}", peer), 20s)) return false;
  }
  return true;
}

TEST_P(EveryStore, ThreadsMeetWhoeverComesFirst) {
  constexpr int kRanks = 8;
  const std::string url = fresh_url(GetParam());
  std::vector<int> met(kRanks, 0);
  std::vector<std::thread> threads;
  for (int rank = kRanks - 1; rank >= 0; --rank) {
    threads.emplace_back([&, rank] {
      if (rank == 0) std::this_thread::sleep_for(50ms);
      const auto store = open_store(url, rank, 20s);
      met[static_cast<std::size_t>(rank)] = meet(*store, rank, kRanks) ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(met, testing::Each(1));
}

TEST_P(EveryStore, ProcessesMeet) {
  constexpr int kRanks = 4;
  const std::string url = fresh_url(GetParam());
  std::vector<pid_t> children;
  for (int rank = 0; rank < kRanks; ++rank) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      bool good = false;
      try {
        const auto store = open_store(url, rank, 20s);
        good = meet(*store, rank, kRanks);
      } catch (const std::exception&) {
        good = false;
      }
      _exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
}

TEST_P(EveryStore, KeepsAnyBytesAndTheLastValue) {
  const std::string url = fresh_url(GetParam());
  const auto server = open_store(url, 0, 5s);
  const auto client = open_store(url, 1, 5s);
  const std::string bytes("\0\n\xff=%", 5);
  client->set(bytes, bytes);
  EXPECT_EQ(server->get(bytes, 5s), bytes);
  client->set(bytes, "");
  EXPECT_EQ(server->get(bytes, 5s), "");
  EXPECT_EQ(client->get(bytes, 5s), "");
  const std::string large(1U << 20U, 'x');
  server->set("large", large);
  EXPECT_EQ(client->get("large", 5s), large);
  EXPECT_THROW(client->set("larger", large + "x"), Error);
  EXPECT_THROW(server->set(std::string(1025, 'k'), ""), Error);
}

TEST_P(EveryStore, AGetEndsWhenItsTimeIsOver) {
  const std::string url = fresh_url(GetParam());
  const auto server = open_store(url, 0, 5s);
  const auto client = open_store(url, 1, 5s);
  for (const auto& store : {server, client}) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(store->get("nobody sets this", 120ms), std::nullopt);
    const auto took = std::chrono::steady_clock::now() - start;
    EXPECT_GE(took, 100ms);
    EXPECT_LT(took, 3s);
    EXPECT_EQ(store->get("nobody sets this", 0ms), std::nullopt);
  }
}

TEST_P(EveryStore, AGetThatWaitsHoldsUpNobody) {
  const std::string url = fresh_url(GetParam());
  const auto server = open_store(url, 0, 5s);
  const auto client = open_store(url, 1, 5s);
  std::vector<std::thread> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.emplace_back([&] { EXPECT_EQ(client->get("later", 10s), "now"); });
    waiting.emplace_back([&] { EXPECT_EQ(server->get("later", std::chrono::milliseconds::max()), "now"); });
  }
  std::this_thread::sleep_for(30ms);
  client->set("later", "now");
  for (auto& thread : waiting) thread.join();
}

TEST_P(EveryStore, ARankThatComesToAnEmptyPlaceTimesOut) {
  const std::string url = fresh_url(GetParam());
  try {
    open_store(url, 3, 200ms);
    ADD_FAILURE() << "there is no server";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::timeout);
    EXPECT_THAT(error.what(), HasSubstr("rank 3"));
    EXPECT_EQ(error.peer(), 0);
  }
}

TEST_P(EveryStore, ANewGenerationSeesNothingOfTheOldOne) {
  const std::string url = fresh_url(GetParam());
  auto first_server = open_store(url, 0, 5s);
  const auto first_client = open_store(url, 1, 5s);
  first_client->set("address/1", "old");
  first_server->set("address/0", "old");

  // Rank 1 is ahead: it asks for the second store while rank 0 still has the first.
  std::shared_ptr<Store> second_client;
  std::thread ahead([&] {
    second_client = open_store(url, 1, 10s);
    second_client->set("address/1", "new");
    EXPECT_EQ(second_client->get("address/0", 10s), "new");
  });
  std::this_thread::sleep_for(100ms);
  first_server.reset();
  const auto second_server = open_store(url, 0, 5s);
  second_server->set("address/0", "new");
  EXPECT_EQ(second_server->get("address/1", 10s), "new");
  ahead.join();
}

TEST_P(EveryStore, TwoProcessesCannotBeTheSameRank) {
  const std::string url = fresh_url(GetParam());
  const auto server = open_store(url, 0, 5s);
  const auto client = open_store(url, 1, 5s);
  EXPECT_THROW(open_store(url, 1, 300ms), Error);
  EXPECT_NE(open_store(url, 2, 5s), nullptr);
}

TEST(TcpStore, TheServersEndIsAnErrorForTheOthers) {
  const std::string url = fresh_url("tcp4");
  auto server = open_store(url, 0, 5s);
  const auto client = open_store(url, 1, 5s);
  std::thread ends([&] {
    std::this_thread::sleep_for(50ms);
    server.reset();
  });
  try {
    client->get("never", 20s);
    ADD_FAILURE() << "the server is gone";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::peer_lost);
    EXPECT_EQ(error.peer(), 0);
  }
  ends.join();
  EXPECT_THROW(client->set("a", "b"), Error);
}

TEST(TcpStore, TheLastValueArrivesBeforeTheServerEnds) {
  const std::string url = fresh_url("tcp4");
  auto server = open_store(url, 0, 5s);
  const auto client = open_store(url, 1, 5s);
  std::thread waits([&] { EXPECT_EQ(client->get("last", 10s), "words"); });
  std::this_thread::sleep_for(50ms);
  server->set("last", "words");
  server.reset();
  waits.join();
}

TEST(TcpStore, ATakenPortIsAClearErrorAndAWindowAvoidsIt) {
  std::string why;
  int error = 0;
  const auto address = base::resolve("127.0.0.1", why).front();
  const std::uint16_t port = reserve_port();
  const auto squatter = base::listen_at(address.with_port(port), error);
  ASSERT_EQ(error, 0);
  try {
    open_store(fmt::format("tcp://127.0.0.1:{}", port), 0, 300ms);
    ADD_FAILURE() << "the port is taken";
  } catch (const Error& refused) {
    EXPECT_EQ(refused.code(), ErrorCode::system);
    EXPECT_THAT(refused.what(), HasSubstr("in use"));
  }
  // The squatter accepts and never says a word, as a stranger's server may.
  const std::string window = fmt::format("tcp://127.0.0.1:{}?ports=8&job=w", port);
  const auto server = open_store(window, 0, 5s);
  const auto client = open_store(window, 1, 20s);
  client->set("a", "b");
  EXPECT_EQ(server->get("a", 5s), "b");
}

TEST(TcpStore, AWindowIsSearchedForTheRightJob) {
  const std::uint16_t port = reserve_port();
  const auto url = [&](const std::string& job) {
    return fmt::format("tcp://127.0.0.1:{}?ports=8&job={}", port, job);
  };
  const auto one = open_store(url("one"), 0, 5s);
  const auto two = open_store(url("two"), 0, 5s);
  one->set("job", "one");
  two->set("job", "two");
  EXPECT_EQ(open_store(url("two"), 1, 5s)->get("job", 5s), "two");
  EXPECT_EQ(open_store(url("one"), 1, 5s)->get("job", 5s), "one");
  try {
    open_store(url("three"), 1, 1000ms);
    ADD_FAILURE() << "there is no such job";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::version_mismatch);
    EXPECT_THAT(error.what(), HasSubstr("another job"));
  }
}

TEST(TcpStore, AnUnknownHostIsAnError) {
  EXPECT_THROW(open_store("tcp://no-such-host.invalid:1234", 0, 300ms), Error);
  try {
    open_store("tcp://no-such-host.invalid:1234", 1, 300ms);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no-such-host.invalid"));
  }
}

TEST(FileStore, RecordsOfAKilledJobAreNotSeen) {
  const std::string path = scratch_file("killed");
  const std::string url = "file://" + path + "?job=k";
  std::vector<char> leftovers;
  {
    const auto server = open_store(url, 0, 1s);
    const auto client = open_store(url, 1, 1s);
    client->set("address/1", "stale");
    std::ifstream in(path, std::ios::binary);
    leftovers.assign(std::istreambuf_iterator<char>(in), {});
  }
  // As a killed job leaves it: no end of the generation, and half a record.
  leftovers.insert(leftovers.end(), {40, 0, 0, 0, 3});
  std::ofstream(path, std::ios::binary)
      .write(leftovers.data(), static_cast<std::streamsize>(leftovers.size()));

  std::shared_ptr<Store> client;
  std::thread early([&] { client = open_store(url, 1, 10s); });
  std::this_thread::sleep_for(50ms);
  const auto server = open_store(url, 0, 1s);
  early.join();
  EXPECT_EQ(server->get("address/1", 50ms), std::nullopt);
  EXPECT_EQ(client->get("address/1", 50ms), std::nullopt);
  client->set("address/1", "fresh");
  EXPECT_EQ(server->get("address/1", 5s), "fresh");
}

TEST(FileStore, JobsShareAFile) {
  const std::string path = scratch_file("jobs");
  const auto one = open_store("file://" + path + "?job=one", 0, 1s);
  const auto two = open_store("file://" + path + "?job=two", 0, 1s);
  one->set("k", "1");
  two->set("k", "2");
  EXPECT_EQ(one->get("k", 1s), "1");
  EXPECT_EQ(two->get("k", 1s), "2");
}

TEST(FileStore, OtherFilesAreLeftAlone) {
  const std::string path = scratch_file("letter");
  const std::string letter = "Dear Gradwire, this is not yours.\n";
  std::ofstream(path) << letter;
  EXPECT_THROW(open_store("file://" + path, 0, 1s), Error);
  EXPECT_THROW(open_store("file://" + path, 1, 100ms), Error);
  std::ifstream in(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), letter);
  EXPECT_THROW(open_store("file:///no/such/folder/store", 0, 1s), Error);
  EXPECT_THROW(open_store("file:///dev/null", 0, 1s), Error);
}

TEST(MemoryStore, ThreadsMeet) {
  const auto store = make_memory_store();
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int rank = 0; rank < 4; ++rank) {
    threads.emplace_back([&, rank] { EXPECT_TRUE(meet(*store, rank, 4)); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(store->get("absent", 10ms), std::nullopt);
}

}  // namespace
}  // namespace gradwire::rendezvous
