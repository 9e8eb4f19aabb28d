#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <thread>

#include "mesh.hpp"
#include "tests/support/quick.hpp"
#include "transport_conformance.hpp"

// What every transport promises in transport.hpp of links that are there: frames in order, bounded queues,
// and sleep that ends.

namespace gradwire::transport {
namespace {

using std::chrono::duration;
using std::chrono::milliseconds;
using std::chrono::seconds;

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
  const std::uint64_t frames = quick() ? 60 : 150;
  for (int ranks = 2; ranks <= 5; ++ranks) {
    expect_ranks(GetParam(), ranks, [&](int rank, Endpoint& endpoint) {
      random_traffic(endpoint, rank, ranks, frames, static_cast<unsigned>(ranks));
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

}  // namespace
}  // namespace gradwire::transport
