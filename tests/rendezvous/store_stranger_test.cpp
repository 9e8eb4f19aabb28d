#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/limits.hpp"
#include "base/stream_socket.hpp"
#include "gradwire/error.hpp"
#include "gradwire/store.hpp"
#include "rendezvous/store_protocol.hpp"
#include "rendezvous/store_search.hpp"
#include "rendezvous/store_server.hpp"
#include "rendezvous/store_socket.hpp"
#include "rendezvous/store_url.hpp"

namespace gradwire::rendezvous {
namespace {

using namespace std::chrono_literals;

/// A store with one client, and what a stranger sees of it.
class Stranger : public testing::Test {
 protected:
  Stranger() {
    for (std::uint16_t port = 20'000; server_ == nullptr; ++port) {
      try {
        url_ = fmt::format("tcp://127.0.0.1:{}?job=secret", port + getpid() % 5000);
        server_ = open_store(url_, 0, 0ms);
      } catch (const Error&) {
        server_ = nullptr;
      }
    }
    client_ = open_store(url_, 1, 5s);
    std::string why;
    address_ = base::resolve("127.0.0.1", why).front().with_port(parse_store_url(url_).port);
  }

  [[nodiscard]] base::UniqueFd connect() const {
    int error = 0;
    base::UniqueFd fd = base::connect_to(address_, Clock::now() + 5s, error);
    EXPECT_EQ(error, 0);
    return fd;
  }

  /// Whether the server closes the connection within `patience`.
  static bool closed(const base::UniqueFd& fd, std::chrono::milliseconds patience) {
    char byte = 0;
    const auto start = Clock::now();
    while (receive_all(fd.get(), &byte, 1, start + patience)) {
    }
    return Clock::now() - start < patience;
  }

  void expect_the_store_works() {
    const std::string value = std::to_string(++count_);
    client_->set("still", value);
    EXPECT_EQ(server_->get("still", 5s), value);
    EXPECT_EQ(client_->get("still", 5s), value);
  }

  static base::UniqueFd welcome(const Stranger& test, std::uint32_t rank) {
    base::UniqueFd fd = test.connect();
    EXPECT_TRUE(
        send_all(fd.get(), write_store_hello({kStoreVersion, rank, 99, "secret"}), Clock::now() + 1s));
    std::string answer(kStoreAnswer, '\0');
    EXPECT_TRUE(receive_all(fd.get(), answer.data(), answer.size(), Clock::now() + 5s));
    EXPECT_EQ(read_store_answer(answer), Verdict::welcome);
    return fd;
  }

  std::string url_;
  std::shared_ptr<Store> server_;
  std::shared_ptr<Store> client_;
  base::SocketAddress address_;
  int count_ = 0;
};

TEST_F(Stranger, IsClosedAtTheFirstWrongByte) {
  for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(1, '\0'),
                                   std::string("GWT"), std::string(100'000, 'x')}) {
    const auto fd = connect();
    send_all(fd.get(), bytes, Clock::now() + 1s);
    EXPECT_TRUE(closed(fd, 3000ms));
  }
  expect_the_store_works();
}

TEST_F(Stranger, RandomBytesDisturbNobody) {
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    std::string bytes;
    if (i % 2 == 0) bytes = write_store_hello({kStoreVersion, 5, 99, "secret"});
    const std::size_t size = random() % 64;
    for (std::size_t k = 0; k < size; ++k) bytes += static_cast<char>(random());
    const auto fd = connect();
    send_all(fd.get(), bytes, Clock::now() + 1s);
  }
  expect_the_store_works();
}

TEST_F(Stranger, WhoSaysNothingOrLittleHoldsUpNobody) {
  const auto silent = connect();
  const auto slow = connect();
  send_all(slow.get(), "GWS", Clock::now() + 1s);
  expect_the_store_works();
}

TEST_F(Stranger, OfAnotherJobOrVersionIsTold) {
  const auto ask = [&](const StoreHello& hello) {
    const auto fd = connect();
    send_all(fd.get(), write_store_hello(hello), Clock::now() + 1s);
    std::string answer(kStoreAnswer, '\0');
    EXPECT_TRUE(receive_all(fd.get(), answer.data(), answer.size(), Clock::now() + 5s));
    EXPECT_TRUE(closed(fd, 3000ms));
    return read_store_answer(answer);
  };
  EXPECT_EQ(ask({kStoreVersion, 1, 1, "public"}), Verdict::other_job);
  EXPECT_EQ(ask({kStoreVersion, 1, 1, ""}), Verdict::other_job);
  EXPECT_EQ(ask({kStoreVersion + 1, 1, 1, "secret"}), Verdict::other_version);
  EXPECT_EQ(ask({kStoreVersion, 1, 1, "secret"}), Verdict::taken);
  expect_the_store_works();
}

TEST_F(Stranger, SizesAreNotBelieved) {
  rusage before{};
  getrusage(RUSAGE_SELF, &before);
  for (std::uint32_t i = 0; i < 50; ++i) {
    const auto fd = welcome(*this, 100 + i);
    // A set of a key and a value of 4 GB each.
    std::string request = write_request({StoreVerb::set, 0ms, "", ""});
    for (std::size_t k = 1; k < 9; ++k) request[k] = '\xff';
    send_all(fd.get(), request, Clock::now() + 1s);
    EXPECT_TRUE(closed(fd, 3000ms));
  }
  rusage after{};
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024) << "kB";
  expect_the_store_works();
}

TEST_F(Stranger, ARequestBeforeTheReplyEndsTheConnection) {
  const auto fd = welcome(*this, 7);
  const std::string get = write_request({StoreVerb::get, 60'000ms, "never", ""});
  send_all(fd.get(), get + get, Clock::now() + 1s);
  EXPECT_TRUE(closed(fd, 3000ms));
  expect_the_store_works();
}

TEST_F(Stranger, GetsThatDoNotWaitForTheirRepliesEndTheConnection) {
  const std::string key(kMaxKey, 'k');
  server_->set(key, std::string(kMaxValue, 'v'));
  const std::string get = write_request({StoreVerb::get, 0ms, key, ""});
  {
    const auto at_once = welcome(*this, 7);
    send_all(at_once.get(), get + get, Clock::now() + 1s);
    EXPECT_TRUE(closed(at_once, 3000ms));
  }
  rusage before{};
  getrusage(RUSAGE_SELF, &before);
  const auto one_by_one = welcome(*this, 8);
  bool refused = false;
  for (int i = 0; i < 500 && !refused; ++i) {
    refused = !send_all(one_by_one.get(), get, Clock::now() + 1s);
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_TRUE(refused) << "the server kept 500 replies of a megabyte that nobody read";
  rusage after{};
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024) << "kB";
  expect_the_store_works();
}

TEST_F(Stranger, RanksThatCannotBeGetNoPlaceInMemory) {
  const auto fd = connect();
  send_all(fd.get(), write_store_hello({kStoreVersion, base::kMaxRanks, 99, "secret"}), Clock::now() + 1s);
  EXPECT_TRUE(closed(fd, 3000ms));
  try {
    open_store(url_, base::kMaxRanks, 1s);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  }
  expect_the_store_works();
}

TEST_F(Stranger, HalfARequestOnEveryConnectionFillsNoMemory) {
  std::string half = write_request({StoreVerb::set, 0ms, "key", std::string(kMaxValue, 'v')});
  half.resize(half.size() - 1);
  std::vector<base::UniqueFd> crowd;
  for (std::uint32_t i = 0; i < 2 * kMaxStoreBuffers / kMaxValue; ++i) {
    crowd.push_back(welcome(*this, 100 + i));
    send_all(crowd.back().get(), half, Clock::now() + 5s);
  }
  int still_open = 0;
  for (const auto& fd : crowd) still_open += closed(fd, 1ms) ? 0 : 1;
  EXPECT_GT(still_open, 10);
  EXPECT_LE(still_open, static_cast<int>(kMaxStoreBuffers / kMaxValue));
  expect_the_store_works();
}

TEST(StoreServer, RefusesValuesBeyondItsRoom) {
  const auto url = parse_store_url(fmt::format("unix://gradwire-full-{}?job=j", getpid()));
  const auto server = std::make_shared<StoreServer>(open_listeners(url, 1s), "j", true, 10'000);
  const auto client = open_store(url.text(), 1, 5s);
  client->set("first", std::string(5000, 'x'));
  for (const auto& store : {std::shared_ptr<Store>(server), client}) {
    try {
      store->set("second", std::string(6000, 'x'));
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      EXPECT_THAT(error.what(), testing::HasSubstr("full"));
    }
    EXPECT_EQ(store->get("second", 0ms), std::nullopt);
  }
  client->set("first", "replaced");
  client->set("second", std::string(6000, 'x'));
  EXPECT_EQ(server->get("second", 1s)->size(), 6000U);
}

TEST_F(Stranger, AMultitudeThatSaysNothingLeavesRoomForRanks) {
  std::vector<base::UniqueFd> crowd;
  for (int i = 0; i < 1200; ++i) {
    int error = 0;
    base::UniqueFd fd = base::connect_to(address_, Clock::now() + 2s, error);
    if (fd) crowd.push_back(std::move(fd));
  }
  EXPECT_EQ(open_store(url_, 2, 10s)->get("still", 0ms), std::nullopt);
  expect_the_store_works();
}

}  // namespace
}  // namespace gradwire::rendezvous
