#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <thread>

#include "directory_store.hpp"
#include "mesh.hpp"
#include "transport_conformance.hpp"

// What every transport promises in transport.hpp, whichever it is.

namespace gradwire::transport {
namespace {

using std::chrono::duration;
using std::chrono::milliseconds;
using std::chrono::seconds;

void expect_frame(const Received& received, int from, int to, std::uint64_t number, std::size_t size) {
  wire::Header got = received.header;
  wire::Header sent = header_for(from, to, number);
  ASSERT_EQ(got.payload_bytes, size);
  got.payload_bytes = 0;
  got.payload_crc = 0;
  got.flags = static_cast<std::uint16_t>(got.flags & ~wire::kFlagPayloadCrc);
  ASSERT_EQ(got, sent) << "frame " << number << " from " << from;
  ASSERT_EQ(received.payload, payload_for(from, to, number, size)) << "frame " << number << " from " << from;
}

std::vector<std::size_t> telling_sizes() {
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 260; ++size) sizes.push_back(size);
  for (std::size_t size = 261; size <= wire::kMaxPayload; size += 509) sizes.push_back(size);
  for (std::size_t page = 4096; page <= wire::kMaxPayload; page += 4096) {
    for (std::size_t size = page - 65; size <= std::min(page + 1, wire::kMaxPayload); size += 13)
      sizes.push_back(size);
  }
  sizes.push_back(wire::kMaxPayload - 1);
  sizes.push_back(wire::kMaxPayload);
  return sizes;
}

TEST_P(Conformance, FramesOfAllSizesArriveInOrder) {
  const auto sizes = telling_sizes();
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    if (rank == 0) {
      std::vector<std::vector<std::byte>> lent;
      std::uint64_t bytes = 0;
      for (std::uint64_t n = 0; n < sizes.size(); ++n) {
        lent.push_back(payload_for(0, 1, n, sizes[n]));
        send(endpoint, 1, header_for(0, 1, n), lent.back());
        bytes += wire::kHeaderBytes + sizes[n];
      }
      drain(endpoint, 1, sizes.size());
      EXPECT_EQ(endpoint.link(1).completed(), sizes.size());
      EXPECT_EQ(endpoint.link(1).wire_bytes_sent(), bytes);
      receive(endpoint, 1);  // leaves after the other has looked
    } else {
      for (std::uint64_t n = 0; n < sizes.size(); ++n) expect_frame(receive(endpoint, 0), 0, 1, n, sizes[n]);
      EXPECT_EQ(endpoint.link(0).front(), nullptr);
      EXPECT_EQ(endpoint.link(0).wire_bytes_sent(), 0U);
      send(endpoint, 0, header_for(1, 0, 0), {});
    }
  });
}

/// Everybody sends `frames` frames of random sizes to everybody, in random turns, reading in random turns.
void random_traffic(Endpoint& endpoint, int rank, int ranks, std::uint64_t frames, unsigned seed) {
  struct Peer {
    std::vector<std::vector<std::byte>> lent;
    std::uint64_t sent = 0;
    std::uint64_t scribbled = 0;
    std::uint64_t received = 0;
  };
  const auto size_of_frame = [seed](int from, int to, std::uint64_t number) {
    std::mt19937_64 random(seed + static_cast<unsigned>(from * 1000 + to * 100) + number * 7919);
    return random() % 3 == 0 ? random() % (wire::kMaxPayload + 1) : random() % 300;
  };
  std::mt19937_64 random(seed * 31 + static_cast<unsigned>(rank));
  std::vector<Peer> peers(static_cast<std::size_t>(ranks));
  const auto deadline = Clock::now() + kSoon;
  while (true) {
    bool busy = false;
    bool moved = false;
    for (int to = 0; to < ranks; ++to) {
      if (to == rank) continue;
      auto& peer = peers[static_cast<std::size_t>(to)];
      auto& link = endpoint.link(to);
      if (peer.sent < frames && random() % 4 != 0) {
        if (peer.lent.size() == peer.sent) {
          peer.lent.push_back(payload_for(rank, to, peer.sent, size_of_frame(rank, to, peer.sent)));
        }
        if (link.try_send(header_for(rank, to, peer.sent), peer.lent.back())) {
          ++peer.sent;
          moved = true;
        }
      }
      // What is no longer lent may be reused at once.
      for (; peer.scribbled < link.completed(); ++peer.scribbled) {
        std::ranges::fill(peer.lent[peer.scribbled], std::byte{0xEE});
      }
      if (peer.received < frames && random() % 4 != 0) {
        if (const Frame* frame = link.front()) {
          const Received copy{frame->header, {frame->payload.begin(), frame->payload.end()}};
          expect_frame(copy, to, rank, peer.received, size_of_frame(to, rank, peer.received));
          if (testing::Test::HasFatalFailure())
            throw Error(ErrorCode::corrupt_frame, "wrong frame", "see above");
          link.pop();
          ++peer.received;
          moved = true;
        }
      }
      busy = busy || peer.scribbled < frames || peer.received < frames;
    }
    if (!busy) return;
    if (Clock::now() > deadline)
      throw Error(ErrorCode::timeout, "random traffic got stuck", "find out where");
    if (!endpoint.progress() && !moved) endpoint.wait(Clock::now() + milliseconds(5));
  }
}

TEST_P(Conformance, RandomTrafficBetweenAll) {
  for (int ranks = 2; ranks <= 5; ++ranks) {
    expect_ranks(GetParam(), ranks, [&](int rank, Endpoint& endpoint) {
      random_traffic(endpoint, rank, ranks, 150, static_cast<unsigned>(ranks));
    });
  }
}

TEST_P(Conformance, QueuesAreBoundedAndNothingBlocks) {
  const Signal full;
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    if (rank == 0) {
      std::uint64_t accepted = 0;
      const auto payload = payload_for(0, 1, 0, wire::kMaxPayload);
      const auto deadline = Clock::now() + milliseconds(300);
      while (Clock::now() < deadline) {
        if (endpoint.link(1).try_send(header_for(0, 1, 0), payload)) ++accepted;
        endpoint.progress();
      }
      EXPECT_FALSE(endpoint.link(1).try_send(header_for(0, 1, 0), payload));
      EXPECT_GT(accepted, 0U);
      EXPECT_LT(accepted, 1000U) << "that is no bounded queue";
      full.send(std::to_string(accepted));
      drain(endpoint, 1, accepted);
    } else {
      const auto accepted = std::stoull(full.wait());
      for (std::uint64_t n = 0; n < accepted; ++n)
        expect_frame(receive(endpoint, 0), 0, 1, 0, wire::kMaxPayload);
    }
  });
}

TEST_P(Conformance, LargerFramesAreRefused) {
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    const std::vector<std::byte> large(wire::kMaxPayload + 1);
    try {
      endpoint.link(1 - rank).try_send(header_for(rank, 1 - rank, 0), large);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    }
  });
}

TEST_P(Conformance, WakeEndsAWait) {
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    if (rank == 1) return;
    const auto begin = Clock::now();
    std::jthread other([&] {
      std::this_thread::sleep_for(milliseconds(50));
      endpoint.wake();
    });
    // Rank 1's goodbye may end the first wait.
    while (Clock::now() < begin + milliseconds(45)) {
      endpoint.wait(begin + seconds(10));
      endpoint.progress();
    }
    EXPECT_LT(Clock::now() - begin, seconds(5));
  });
}

TEST_P(Conformance, AWakeBeforeTheWaitIsRemembered) {
  expect_ranks(GetParam(), 2, [&](int, Endpoint& endpoint) {
    const auto begin = Clock::now();
    endpoint.wake();
    endpoint.wait(begin + seconds(10));
    EXPECT_LT(Clock::now() - begin, seconds(5));
  });
}

TEST_P(Conformance, WaitSleepsUntilItsDeadline) {
  const std::array<Signal, 2> done{};
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    endpoint.progress();
    for (const auto pause : {std::chrono::microseconds(300), std::chrono::microseconds(3000),
                             std::chrono::microseconds(200'000)}) {
      const auto begin = Clock::now();
      const double computed = cpu_seconds();
      while (Clock::now() < begin + pause) {
        endpoint.wait(begin + pause);
        endpoint.progress();
      }
      EXPECT_LT(Clock::now() - begin, pause + milliseconds(200));
      // The short ones may be spent spinning.
      if (pause > milliseconds(100)) {
        EXPECT_LT(cpu_seconds() - computed, 0.05) << "that is no sleep";
      }
    }
    // Nobody says goodbye while another still waits.
    done[static_cast<std::size_t>(rank)].send();
    (void)done[static_cast<std::size_t>(1 - rank)].wait();
  });
}

TEST_P(Conformance, FramesAndSpaceWakeASleeper) {
  constexpr std::uint64_t kRounds = 60;
  std::vector<double> micros;
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    const auto payload = payload_for(0, 0, 0, 4096);
    for (std::uint64_t n = 0; n < kRounds; ++n) {
      if (rank == 0) {
        std::this_thread::sleep_for(milliseconds(2));  // the other is asleep by now
        const auto begin = Clock::now();
        send(endpoint, 1, header_for(0, 1, n), payload);
        receive(endpoint, 1);
        micros.push_back(duration<double, std::micro>(Clock::now() - begin).count());
      } else {
        receive(endpoint, 0);
        send(endpoint, 0, header_for(1, 0, n), payload);
      }
    }
  });
  if (!is_here(0)) return;
  std::ranges::sort(micros);
  ASSERT_EQ(micros.size(), kRounds);
  RecordProperty("median_us", std::to_string(micros[kRounds / 2]));
  EXPECT_LT(micros.front(), 2000) << "a lost wake-up or a poll in the dark";
}

/// A sender far ahead of its receiver sleeps on a full queue again and again.
TEST_P(Conformance, SleepersOnFullQueuesGoOn) {
  constexpr std::uint64_t kFrames = 400;
  expect_ranks(GetParam(), 2, [&](int rank, Endpoint& endpoint) {
    const auto payload = payload_for(0, 0, 0, 50000);
    std::mt19937 random(3);
    for (std::uint64_t n = 0; n < kFrames; ++n) {
      if (rank == 0) {
        send(endpoint, 1, header_for(0, 1, n), payload);
      } else {
        ASSERT_EQ(receive(endpoint, 0).header.operation, n);
        if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
      }
    }
    if (rank == 0) drain(endpoint, 1, kFrames);
  });
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

}  // namespace
}  // namespace gradwire::transport
