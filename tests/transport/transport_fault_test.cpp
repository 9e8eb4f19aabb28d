#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <thread>

#include "base/unique_fd.hpp"
#include "directory_store.hpp"
#include "mesh.hpp"
#include "transport/host_identity.hpp"
#include "transport/inproc/room.hpp"

// Peers that die, and threads that are none.

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// What a child tells the test about its end.
struct Report {
  int rank = -1;
  int code = 0;
  int peer = -1;
  bool streaming = false;  ///< not an end yet: the stream runs
  char text[200] = "";
};

/// Ranks as processes, each passing frames round a ring for ever.
class Ring {
 public:
  Ring(const Flavor& flavor, int ranks, bool one_idles) : children_(static_cast<std::size_t>(ranks)) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
    read_end_.reset(ends[0]);
    base::UniqueFd write_end(ends[1]);
    for (int rank = 0; rank < ranks; ++rank) {
      const pid_t child = ::fork();
      if (child == 0) {
        read_end_.reset();
        run(flavor, rank, ranks, one_idles, write_end.get());
        ::_exit(0);
      }
      children_[static_cast<std::size_t>(rank)] = child;
    }
  }
  ~Ring() {
    for (const pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  void kill(int rank) { ::kill(children_[static_cast<std::size_t>(rank)], SIGKILL); }

  Report next_report() {
    pollfd wanted = {read_end_.get(), POLLIN, 0};
    Report report;
    const bool told = ::poll(&wanted, 1, static_cast<int>(milliseconds(kSoon).count())) > 0 &&
                      ::read(read_end_.get(), &report, sizeof report) == sizeof report;
    EXPECT_TRUE(told) << "no report in time";
    return report;
  }

 private:
  void run(const Flavor& flavor, int rank, int ranks, bool one_idles, int pipe) {
    Report report;
    report.rank = rank;
    const int next = (rank + 1) % ranks;
    const int previous = (rank + ranks - 1) % ranks;
    const auto payload = payload_for(rank, next, 0, 40000);  // lent until the endpoint has ended
    std::unique_ptr<Endpoint> endpoint;
    try {
      endpoint = connect(options_for(flavor, rank, ranks), store_);
      for (std::uint64_t n = 0;; ++n) {
        if (n == 30) {
          report.streaming = true;
          tell(pipe, report);
          report.streaming = false;
          // It sends no more and takes nothing: the queues towards it fill up.
          if (one_idles && rank == 0) idle(*endpoint);
        }
        send(*endpoint, next, header_for(rank, next, n), payload);
        receive(*endpoint, previous);
        drain(*endpoint, next, n + 1);
      }
    } catch (const Error& cause) {
      const Error error = endpoint ? endpoint->abort(cause) : cause;
      report.code = static_cast<int>(error.code());
      report.peer = error.peer().value_or(-1);
      std::strncpy(report.text, error.what(), sizeof report.text - 1);
    }
    tell(pipe, report);
  }

  [[noreturn]] static void idle(Endpoint& endpoint) {
    for (;;) {
      endpoint.progress();
      endpoint.wait(Clock::now() + seconds(1));
    }
  }

  static void tell(int pipe, const Report& report) {
    [[maybe_unused]] const auto written = ::write(pipe, &report, sizeof report);
  }

  DirectoryStore store_;
  base::UniqueFd read_end_;
  std::vector<pid_t> children_;
};

class Fault : public FlavorTest {};

void expect_survivors_to_name(Ring& ring, int ranks, int victim) {
  for (int i = 0; i < ranks; ++i) {
    const Report report = ring.next_report();
    EXPECT_TRUE(report.streaming) << "rank " << report.rank << " ended: " << report.text;
  }
  const auto begin = Clock::now();
  ring.kill(victim);
  for (int i = 0; i < ranks - 1; ++i) {
    const Report report = ring.next_report();
    EXPECT_NE(report.rank, victim);
    EXPECT_EQ(report.code, static_cast<int>(ErrorCode::peer_lost)) << "rank " << report.rank;
    EXPECT_EQ(report.peer, victim) << "rank " << report.rank;
  }
  EXPECT_LT(Clock::now() - begin, seconds(5));
}

TEST_P(Fault, SurvivorsNameTheRankThatWasKilled) {
  constexpr int kRanks = 4;
  for (int victim = 0; victim < kRanks; ++victim) {
    Ring ring(GetParam(), kRanks, false);
    expect_survivors_to_name(ring, kRanks, victim);
  }
}

TEST_P(Fault, SurvivorsNameItWhenQueuesAreFull) {
  constexpr int kRanks = 4;
  for (const int victim : {0, 1, 3}) {
    Ring ring(GetParam(), kRanks, true);
    expect_survivors_to_name(ring, kRanks, victim);
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, Fault,
                         testing::ValuesIn(with_ucx({{"shm", "shm"},
                                                     {"tcp", "tcp"},
                                                     {"tcp_striped", "tcp", 3},
                                                     {"automatic", "auto"}})),
                         [](const auto& each) { return each.param.name; });

TEST(Inproc, ProcessesAreRefused) {
  DirectoryStore store;
  const auto code_of_rank = [&](int rank) {
    try {
      connect(options_for({"inproc", "inproc"}, rank, 2), store);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::system;
  };
  const pid_t child = ::fork();
  if (child == 0) ::_exit(code_of_rank(1) == ErrorCode::invalid_argument ? 0 : 1);
  EXPECT_EQ(code_of_rank(0), ErrorCode::invalid_argument);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Inproc, WhatTheStoreSaysIsNotDereferenced) {
  for (const std::string answer : {"", "0", "room", "12345678", "00007fffffffe000", "-1", "refused "}) {
    DirectoryStore store;
    std::optional<Error> error;
    std::thread joiner([&] {
      try {
        connect(options_for({"inproc", "inproc"}, 1, 2), store);
      } catch (const Error& cause) {
        error = cause;
      }
    });
    const std::string prefix = "gradwire/conformance/7/inproc/";
    const std::string request = store.get(prefix + "join/1", kSoon).value();
    store.set(prefix + "room/1/" + request.substr(0, 16), answer);
    joiner.join();
    ASSERT_TRUE(error) << answer;
    EXPECT_EQ(error->code(), ErrorCode::corrupt_frame) << error->what();
  }
}

TEST(Inproc, ARankThatAskedAndLeftIsMissed) {
  DirectoryStore store;
  store.set("gradwire/conformance/7/inproc/join/1", "0123456789abcdef 2 " + process_identity());
  auto options = options_for({"inproc", "inproc"}, 0, 2);
  options.timeout = milliseconds(200);
  try {
    connect(options, store);
    ADD_FAILURE() << "connected with nobody";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::timeout) << error.what();
    EXPECT_EQ(error.peer(), 1);
  }
  const std::string name = store.get("gradwire/conformance/7/inproc/room/1/0123456789abcdef", kSoon).value();
  EXPECT_EQ(Room::find(name), nullptr) << "the room outlives those who could use it";
}

}  // namespace
}  // namespace gradwire::transport
