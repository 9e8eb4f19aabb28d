#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

#include "directory_store.hpp"
#include "mesh.hpp"
#include "transport_conformance.hpp"

// How the links of every transport come about, and how they end: in peace, by an error, by a death.

namespace gradwire::transport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_P(Conformance, MissingRanksAreNamed) {
  DirectoryStore store;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (const int rank : {0, 1}) {
    threads.emplace_back([&, rank] {
      auto options = options_for(GetParam(), rank, 4);
      options.timeout = milliseconds(300);
      const auto begin = Clock::now();
      try {
        const auto endpoint = connect(options, store);
        ADD_FAILURE() << "connected";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::timeout);
        EXPECT_THAT(error.what(), testing::HasSubstr("ranks 2, 3 of 4 did not appear"));
      }
      EXPECT_LT(Clock::now() - begin, seconds(5));
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_P(Conformance, LinksAreOfTheKindThatWasAskedFor) {
  const Flavor flavor = GetParam();
  expect_ranks(flavor, 4, [&](int rank, Endpoint& endpoint) {
    for (int peer = 0; peer < 4; ++peer) {
      if (peer == rank) continue;
      const bool is_local =
          flavor.ranks_per_host == 0 || peer / flavor.ranks_per_host == rank / flavor.ranks_per_host;
      const std::string expected = flavor.kind != "auto" ? flavor.kind
                                   : is_local            ? "shm"
                                   : flavor.mpi          ? "mpi"
                                                         : "tcp";
      EXPECT_EQ(endpoint.link(peer).kind(), expected) << rank << " to " << peer;
    }
  });
}

TEST(Tcp, RunsOverIpv6) {
  if (!has_ipv6()) GTEST_SKIP() << "nobody can listen at ::1 on this host";
  DirectoryStore store;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      auto options = options_for({"tcp", "tcp"}, rank, 2);
      options.interface = "::1";
      const auto endpoint = connect(options, store);
      const auto payload = payload_for(rank, 1 - rank, 0, 5000);
      send(*endpoint, 1 - rank, header_for(rank, 1 - rank, 0), payload);
      expect_frame(receive(*endpoint, 1 - rank), 1 - rank, rank, 0, 5000);
      endpoint->close(seconds(2));
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_P(Conformance, AddressesOfAnEarlierRunInTheStoreDoNoHarm) {
  if (std::string(GetParam().kind) == "inproc") GTEST_SKIP() << "its ranks meet under fresh names every time";
  DirectoryStore store;
  const auto options_of = [](int rank) { return options_for(GetParam(), rank, 2); };
  const auto run_rank = [&](int rank) {
    const auto endpoint = connect(options_of(rank), store);
    send(*endpoint, 1 - rank, header_for(rank, 1 - rank, 0), {});
    receive(*endpoint, 1 - rank);
    endpoint->close(seconds(2));
  };
  for (int run = 0; run < 2; ++run) {
    std::thread late([&] {
      // In the second run rank 1 finds the first one's address of rank 0 and dials nobody for a while.
      if (run == 1) std::this_thread::sleep_for(milliseconds(150));
      EXPECT_NO_THROW(run_rank(0));
    });
    EXPECT_NO_THROW(run_rank(1));
    late.join();
  }
}

TEST_P(Conformance, OneRankNeedsNobody) {
  DirectoryStore store;
  const auto endpoint = connect(options_for(GetParam(), 0, 1), store);
  EXPECT_FALSE(endpoint->progress());
  endpoint->wait(Clock::now() + milliseconds(2));
  endpoint->close(milliseconds(10));
}

TEST_P(Conformance, GoodbyeComesAfterTheData) {
  const Signal gone;
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    if (rank == 0) {
      const auto payload = payload_for(0, 1, 0, 1000);
      send(endpoint, 1, header_for(0, 1, 0), payload);
      send(endpoint, 1, header_for(0, 1, 1), payload);
      endpoint.close(seconds(2));
      gone.send();
      return;
    }
    (void)gone.wait();
    std::this_thread::sleep_for(milliseconds(20));
    for (int i = 0; i < 3; ++i)
      EXPECT_NO_THROW(endpoint.progress()) << "a goodbye concerns only who needs the peer";
    EXPECT_EQ(receive(endpoint, 0).header.operation, 0U);
    EXPECT_EQ(receive(endpoint, 0).header.operation, 1U);
    try {
      receive(endpoint, 0);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::peer_lost);
      EXPECT_EQ(error.peer(), 0);
      EXPECT_THAT(error.what(), testing::HasSubstr("closed"));
    }
    EXPECT_THROW(endpoint.link(0).try_send(header_for(1, 0, 0), {}), Error);
    EXPECT_NO_THROW(endpoint.progress());
  });
}

/// A socket that is closed over unread bytes is reset; what its peer has not taken by then must survive that.
TEST_P(Conformance, ClosingOverUnreadDataLosesNothing) {
  constexpr std::uint64_t kFrames = 4;
  const Signal sent;
  const Signal gone;
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    const auto payload = payload_for(rank, 1 - rank, 0, 2000);
    for (std::uint64_t n = 0; n < kFrames; ++n)
      send(endpoint, 1 - rank, header_for(rank, 1 - rank, n), payload);
    if (rank == 0) {
      (void)sent.wait();
      endpoint.close(seconds(2));
      gone.send();
      return;
    }
    if (!GetParam().mpi) drain(endpoint, 0, kFrames);  // MPI may send nothing to who does not call it
    sent.send();
    (void)gone.wait();
    std::this_thread::sleep_for(milliseconds(20));
    for (std::uint64_t n = 0; n < kFrames; ++n) EXPECT_EQ(receive(endpoint, 0).header.operation, n);
    try {
      receive(endpoint, 0);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("closed"));
    }
  });
}

/// The peer computes, and takes no notice.
TEST_P(Conformance, ClosingDoesNotWaitForARankThatNeedsNothing) {
  if (GetParam().mpi) GTEST_SKIP() << "MPI may send nothing to who does not call it";
  const Signal taken;
  const Signal gone;
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    const auto payload = payload_for(0, 1, 0, 2000);
    if (rank == 1) {
      for (int i = 0; i < 6; ++i) receive(endpoint, 0);
      taken.send();
      (void)gone.wait();
      EXPECT_NO_THROW(endpoint.progress());
      try {
        receive(endpoint, 0);
        ADD_FAILURE() << "no error";
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr("closed"));
      }
      return;
    }
    for (std::uint64_t n = 0; n < 6; ++n) send(endpoint, 1, header_for(0, 1, n), payload);
    (void)taken.wait();
    const auto begin = Clock::now();
    endpoint.close(seconds(30));
    EXPECT_LT(Clock::now() - begin, seconds(5));
    gone.send();
  });
}

/// Each hears of the others' ends while it tells its own.
TEST_P(Conformance, AbortsOfAllAtATimeAreQuick) {
  constexpr int kRanks = 3;
  auto best = Clock::duration::max();
  for (int round = 0; round < 5; ++round) {
    std::array<Clock::duration, kRanks> took{};
    const auto errors = run_ranks(GetParam(), kRanks, [&](int rank, Endpoint& endpoint) {
      for (int peer = 0; peer < kRanks; ++peer) {
        if (peer != rank) send(endpoint, peer, header_for(rank, peer, 0), {});
      }
      for (int peer = 0; peer < kRanks; ++peer) {
        if (peer != rank) receive(endpoint, peer);
      }
      const Error cause(ErrorCode::order_mismatch, "planted", "nothing", 1);
      const auto begin = Clock::now();
      (void)endpoint.abort(cause);
      took[static_cast<std::size_t>(rank)] = Clock::now() - begin;
      throw cause;
    });
    for (const auto& error : errors) EXPECT_EQ(error->code(), ErrorCode::order_mismatch);
    best = std::min(best, std::ranges::max(took));
  }
  EXPECT_LT(best, milliseconds(300)) << "they waited for answers that had come";
}

TEST_P(Conformance, AbortReachesEverybodyAndNamesTheOrigin) {
  const auto errors = run_ranks(GetParam(), 4, [&](int rank, Endpoint& endpoint) {
    if (rank == 2) throw Error(ErrorCode::order_mismatch, "planted", "nothing", 1);
    receive(endpoint, (rank + 1) % 4 == 2 ? (rank + 2) % 4 : (rank + 1) % 4);
  });
  for (const auto& error : errors) {
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::order_mismatch) << error->what();
    EXPECT_EQ(error->peer(), 1) << error->what();
  }
}

TEST_P(Conformance, AnErrorOfARanksOwnIsALossToTheOthers) {
  const auto errors = run_ranks(GetParam(), 3, [&](int rank, Endpoint& endpoint) {
    if (rank == 0) throw Error(ErrorCode::invalid_argument, "planted", "nothing");
    receive(endpoint, 3 - rank);
  });
  EXPECT_EQ(errors[0]->code(), ErrorCode::invalid_argument);
  for (const int rank : {1, 2}) {
    const auto& error = errors[static_cast<std::size_t>(rank)];
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::peer_lost) << error->what();
    EXPECT_EQ(error->peer(), 0) << error->what();
  }
}

TEST_P(Conformance, AbortPassesFullQueues) {
  const auto payload = payload_for(0, 1, 0, wire::kMaxPayload);  // lent until both have ended
  const auto errors = run_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    const auto deadline = Clock::now() + (rank == 0 ? milliseconds(200) : milliseconds(5000));
    while (Clock::now() < deadline) {
      endpoint.link(1 - rank).try_send(header_for(rank, 1 - rank, 0), payload);
      endpoint.progress();
    }
    if (rank == 0) throw Error(ErrorCode::non_finite, "planted", "nothing", 0);
  });
  ASSERT_TRUE(errors[1]);
  EXPECT_EQ(errors[1]->code(), ErrorCode::non_finite) << errors[1]->what();
  EXPECT_EQ(errors[1]->peer(), 0);
}

TEST_P(Conformance, LeavingWithoutAWordIsADeath) {
  DirectoryStore store;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int rank = 0; rank < 4; ++rank) {
    threads.emplace_back([&, rank] {
      auto endpoint = connect(options_for(GetParam(), rank, 4), store);
      if (rank == 3) return;
      try {
        receive(*endpoint, (rank + 1) % 3);
        ADD_FAILURE() << "no error";
      } catch (const Error& cause) {
        const Error error = endpoint->abort(cause);
        EXPECT_EQ(error.code(), ErrorCode::peer_lost) << error.what();
        EXPECT_EQ(error.peer(), 3) << error.what();
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace gradwire::transport
