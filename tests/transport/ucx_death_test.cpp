#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <limits>

#include "directory_store.hpp"
#include "mesh.hpp"
#include "tests/support/quick.hpp"

// Processes over UCX that end at the worst of times.

namespace gradwire::transport {
namespace {

using std::chrono::seconds;

const Flavor kUcx{"ucx", "ucx"};

/// Ranks as processes, which share a store.
class Ranks {
 public:
  ~Ranks() {
    for (const pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }

  void start(const std::function<void(Store& store)>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
      body(store_);
      ::_exit(0);
    }
    children_.push_back(child);
  }
  void wait_for_end_of(int rank) {
    auto& child = children_[static_cast<std::size_t>(rank)];
    // It stays unreaped, as in a job whose launcher is busy.
    siginfo_t info = {};
    ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  }
  [[nodiscard]] Store& store() noexcept { return store_; }
  /// What a child has said.
  [[nodiscard]] std::string told(const std::string& key) {
    return store_.get(key, kSoon).value_or("nothing in time");
  }

 private:
  DirectoryStore store_;
  std::vector<pid_t> children_;
};

std::string to_text(const Error& error) {
  return std::string(to_string(error.code())) + " by rank " + std::to_string(error.peer().value_or(-1));
}

/// Progress and sleep until an error comes.
std::string error_of(Endpoint& endpoint) {
  const auto deadline = Clock::now() + kSoon;
  try {
    while (Clock::now() < deadline) {
      while (endpoint.progress()) {
      }
      endpoint.wait(deadline);
    }
  } catch (const Error& error) {
    return to_text(error);
  }
  return "no error in time";
}

TEST(UcxDeath, WhatARankSaidBeforeItEndedIsHeard) {
  Ranks ranks;
  ranks.start([](Store& store) {
    const auto endpoint = connect(options_for(kUcx, 0, 3), store);
    // Then the link to rank 2 is asked first, before that to rank 1, which moves all bytes.
    receive(*endpoint, 1);
    while (endpoint->progress()) {
    }
    store.set("rank 0 is idle", "");
    (void)store.get("rank 2 has ended", kSoon);
    store.set("answer", error_of(*endpoint));
  });
  ranks.start([](Store& store) {
    const auto endpoint = connect(options_for(kUcx, 1, 3), store);
    send(*endpoint, 0, header_for(1, 0, 0), {});
    (void)error_of(*endpoint);
  });
  ranks.start([](Store& store) {
    const auto endpoint = connect(options_for(kUcx, 2, 3), store);
    (void)store.get("rank 0 is idle", kSoon);
    (void)endpoint->abort({ErrorCode::order_mismatch, "planted", "", 1});
  });
  ranks.wait_for_end_of(2);
  ranks.store().set("rank 2 has ended", "");
  EXPECT_EQ(ranks.told("answer"), "order_mismatch by rank 1");
}

/// A rank that ends when it is about to say that it is ready.
class FatalStore final : public Store {
 public:
  explicit FatalStore(Store& store) : store_(store) {}
  void set(const std::string& key, const std::string& value) override {
    if (key.find("ucx/ready/") != std::string::npos) ::raise(SIGKILL);
    store_.set(key, value);
  }
  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override {
    return store_.get(key, timeout);
  }

 private:
  Store& store_;
};

TEST(UcxDeath, ARankThatIsKilledBeforeItIsReadyIsNamed) {
  const auto begin = Clock::now();
  Ranks ranks;
  for (const int rank : {0, 1, 2}) {
    ranks.start([rank](Store& store) {
      FatalStore fatal(store);
      try {
        const auto endpoint = connect(options_for(kUcx, rank, 3), rank == 1 ? fatal : store);
        store.set("answer of " + std::to_string(rank), "connected");
      } catch (const Error& error) {
        store.set("answer of " + std::to_string(rank), error.what());
      }
    });
  }
  for (const std::string rank : {"0", "2"}) {
    EXPECT_THAT(ranks.told("answer of " + rank), testing::HasSubstr("rank 1 died: process is gone"));
  }
  EXPECT_LT(Clock::now() - begin, kSoon / 2);
}

/// Sends to all others and takes what they send. Returns what ends it: itself when it has taken so many
/// frames, or an error.
std::string stream(int rank, int ranks, Store& store, std::uint64_t frames) {
  const std::vector<std::byte> payload(wire::kMaxPayload);
  std::vector<std::uint64_t> sent(static_cast<std::size_t>(ranks));
  std::unique_ptr<Endpoint> endpoint;
  try {
    endpoint = connect(options_for(kUcx, rank, ranks), store);
    for (std::uint64_t taken = 0; taken < frames;) {
      bool moved = endpoint->progress();
      for (int peer = 0; peer < ranks; ++peer) {
        if (peer == rank) continue;
        auto& number = sent[static_cast<std::size_t>(peer)];
        if (endpoint->link(peer).try_send(header_for(rank, peer, number), payload)) {
          ++number;
          moved = true;
        }
        if (endpoint->link(peer).front() == nullptr) continue;
        endpoint->link(peer).pop();
        ++taken;
        moved = true;
      }
      if (!moved) endpoint->wait(Clock::now() + std::chrono::milliseconds(5));
    }
  } catch (const Error& error) {
    return endpoint ? to_text(endpoint->abort(error)) : error.what();
  }
  ::raise(SIGKILL);
  return "no error";
}

/// UCX ends a process that takes the answer to a flush from a peer which it has given up.
TEST(UcxDeath, SurvivorsOverTcpAreNotTakenAlong) {
  constexpr int kRanks = 4;
  const std::uint64_t jobs = quick() ? 4 : 20;
  for (std::uint64_t job = 0; job < jobs; ++job) {
    Ranks ranks;
    for (int rank = 0; rank < kRanks; ++rank) {
      ranks.start([rank, job](Store& store) {
        ::setenv("UCX_TLS", "tcp,self", 1);
        const std::uint64_t frames = rank == 2 ? 100 + 10 * job : std::numeric_limits<std::uint64_t>::max();
        store.set("answer of " + std::to_string(rank), stream(rank, kRanks, store, frames));
      });
    }
    for (const std::string rank : {"0", "1", "3"}) {
      ASSERT_THAT(ranks.told("answer of " + rank), testing::StartsWith("peer_lost")) << "job " << job;
    }
  }
}

}  // namespace
}  // namespace gradwire::transport
