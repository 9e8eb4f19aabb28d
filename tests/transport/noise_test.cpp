#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>

#include "stranger.hpp"

// Strangers at a rank's door that are no ranks at all.

namespace gradwire::transport {
namespace {

TEST_F(Stranger, ThatIsNoRankDoesNotDisturb) {
  std::thread noise([&] {
    const auto socket = dial_rank_0();
    const std::string request = "GET / HTTP/1.1\r\n\r\n";
    ASSERT_GT(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    std::this_thread::sleep_for(milliseconds(100));
  });
  std::vector<std::thread> ranks;
  ranks.reserve(2);
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&, rank] {
      if (rank == 1) std::this_thread::sleep_for(milliseconds(200));
      EXPECT_NO_THROW(connect(options_for({"tcp", "tcp"}, rank, 2), store_)->close(seconds(1)));
    });
  }
  noise.join();
  for (auto& rank : ranks) rank.join();
}

TEST_F(Stranger, ThatSaysNothingIsLetGoOf) {
  auto options = options_for({"tcp", "tcp"}, 0, 2);
  options.timeout = seconds(2);
  std::thread rank([&] { EXPECT_THROW(connect(options, store_), Error); });
  publish(1, base::numeric_address("127.0.0.1", 1), 5);
  const auto begin = Clock::now();
  const auto socket = dial_rank_0();
  ASSERT_EQ(::send(socket.get(), "GWH", 3, MSG_NOSIGNAL), 3);
  pollfd wanted = {socket.get(), POLLRDHUP, 0};
  EXPECT_EQ(::poll(&wanted, 1, 60'000), 1);
  EXPECT_LT(Clock::now() - begin, milliseconds(1900)) << "only the deadline of all ended it";
  rank.join();
}

/// Opens connections to rank 0 in a process of its own, and says nothing on any of them.
pid_t start_silent_crowd(Store& store, const std::string& key, int size, int ready) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  const auto record = read_record(store.get(key, kSoon).value(), 0, options_for({"tcp", "tcp"}, 1, 2));
  std::vector<base::UniqueFd> crowd;
  crowd.reserve(static_cast<std::size_t>(size));
  std::string problem;
  for (int i = 0; i < size; ++i) {
    crowd.push_back(
        dial_tcp(base::numeric_address(record.tcp_host, record.tcp_port), Clock::now() + kSoon, problem));
  }
  [[maybe_unused]] const auto told = ::write(ready, "r", 1);
  while (true) ::pause();
}

TEST_F(Stranger, ManyThatSayNothingLeaveRoomForRanks) {
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t crowd = start_silent_crowd(store_, key(0), 200, ready[1]);
  // A process of its own, like any rank, with descriptors of its own.
  const pid_t late = ::fork();
  if (late == 0) {
    try {
      char byte = 0;
      [[maybe_unused]] const auto told = ::read(ready[0], &byte, 1);
      connect(options_for({"tcp", "tcp"}, 1, 2), store_)->close(seconds(1));
      ::_exit(0);
    } catch (const Error&) {
      ::_exit(1);
    }
  }
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(ready[1]) + 60;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  EXPECT_NO_THROW(connect(options_for({"tcp", "tcp"}, 0, 2), store_)->close(seconds(1)));
  ::setrlimit(RLIMIT_NOFILE, &before);
  int status = -1;
  ::waitpid(late, &status, 0);
  EXPECT_EQ(status, 0);
  ::kill(crowd, SIGKILL);
  ::waitpid(crowd, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(Stranger, IsNotTakenForTheCauseOfAMissingRank) {
  const auto error = error_of_rank(0, kWholeTime, [&] {
    publish(1, base::numeric_address("127.0.0.1", 1), 5);
    const auto socket = dial_rank_0();
    const std::string request = "GET / HTTP/1.1\r\n\r\n";
    ASSERT_GT(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    pollfd wanted = {socket.get(), POLLRDHUP, 0};
    ::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count()));
  });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::timeout);
  EXPECT_EQ(error->peer(), 1);
  EXPECT_THAT(error->what(), testing::AllOf(testing::HasSubstr("no connection with rank 1 of 2"),
                                            testing::HasSubstr("not a gradwire rank")));
}

}  // namespace
}  // namespace gradwire::transport
