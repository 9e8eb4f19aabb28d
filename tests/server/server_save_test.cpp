// A server that was saved and restored in the middle of a history goes on with the same bits.

#include <gtest/gtest.h>

#include <random>

#include "expect_error.hpp"
#include "server_calls.hpp"
#include "tests/support/normal_floats.hpp"

namespace gradwire::server {
namespace {

constexpr std::size_t kCount = 700;
constexpr std::uint32_t kWorkers = 3;
const std::vector<std::string> optimizers{"sgd:lr=0.1", "momentum", "adagrad",
                                          "adam",       "average",  "elastic:alpha=0.2"};

ServerStateOptions options(std::uint64_t incarnation) {
  return {.lease = std::chrono::milliseconds(100), .incarnation = incarnation};
}

/// Drives a server with requests that follow from a seed alone.
class Driver {
 public:
  explicit Driver(const std::string& consistency) : consistency_(parse_consistency(consistency)) {}

  void join(ServerState& state) const {
    for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
      state.join({.session = 100 + worker,
                  .worker = worker,
                  .workers = kWorkers,
                  .consistency = consistency_,
                  .push_codec = "onebit:block=64",
                  .pull_codec = "onebit"},
                 at_ms(0));
    }
    for (const std::string& optimizer : optimizers) {
      state.make_key(whole_key(optimizer, kCount, optimizer), Floats(kCount, 1.0F));
    }
  }

  /// `rounds` in which each worker pushes to some keys, and ends its step or not.
  void run(ServerState& state, int rounds) {
    for (int round = 0; round < rounds; ++round) {
      for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
        for (std::uint32_t shard = 0; shard < optimizers.size(); ++shard) {
          if (random_() % 4 == 0) continue;
          Payload payload = encoded(*push_codec_, normal_floats(kCount, static_cast<unsigned>(random_())));
          state.push(worker, 100 + worker,
                     {.sequence = ++sequence_[worker], .shard = shard, .clock = clock_[worker]}, payload);
          static_cast<void>(state.pull(worker, 100 + worker, {.shard = shard, .clock = clock_[worker]}));
        }
        if (random_() % 3 != 0) state.advance(worker, 100 + worker, {++clock_[worker]});
      }
    }
  }

 private:
  Consistency consistency_;
  std::shared_ptr<const compress::Codec> push_codec_ = compress::make_codec("onebit:block=64");
  std::mt19937 random_{3};
  std::uint64_t sequence_[kWorkers] = {};
  std::uint64_t clock_[kWorkers] = {};
};

void expect_same(const ServerState& a, const ServerState& b) {
  EXPECT_EQ(a.clock(), b.clock());
  for (std::uint32_t shard = 0; shard < optimizers.size(); ++shard) {
    const auto x = a.estimate(shard);
    const auto y = b.estimate(shard);
    EXPECT_TRUE(*x == *y) << optimizers[shard];
  }
}

TEST(ServerSave, GoesOnWithTheSameBits) {
  for (const std::string consistency : {"bsp", "ssp:2", "asp"}) {
    Driver driver(consistency);
    ServerState state(options(1));
    driver.join(state);
    driver.run(state, 25);
    ServerState restored(options(2));
    restored.restore(state.save(), "saved", at_ms(1000));
    expect_same(state, restored);
    EXPECT_EQ(restored.next_expiry(), at_ms(1100));

    Driver same = driver;
    driver.run(state, 25);
    same.run(restored, 25);
    EXPECT_GT(state.clock(), 10U);
    expect_same(state, restored);
    // All that it holds, not only what can be seen; the incarnation, the fourth word, is another.
    auto bytes = state.save();
    const auto others = restored.save();
    ASSERT_EQ(bytes.size(), others.size());
    std::copy(others.begin() + 12, others.begin() + 20, bytes.begin() + 12);
    EXPECT_EQ(bytes, others) << consistency;
  }
}

TEST(ServerSave, IsAnotherIncarnation) {
  Driver driver("bsp");
  ServerState state(options(7));
  driver.join(state);
  ServerState restored(options(7));
  restored.restore(state.save(), "saved", at_ms(0));
  const Join again{.session = 100,
                   .workers = kWorkers,
                   .consistency = parse_consistency("bsp"),
                   .push_codec = "onebit:block=64",
                   .pull_codec = "onebit"};
  EXPECT_NE(restored.join(again, at_ms(0)).incarnation, 7U);
}

TEST(ServerSave, AStateThatNobodyJoinedIsSavedToo) {
  ServerState restored(options(2));
  restored.restore(ServerState(options(1)).save(), "saved", at_ms(0));
  Driver("bsp").join(restored);
}

TEST(ServerSave, DamagedBytesAreRefusedAndChangeNothing) {
  Driver driver("bsp");
  ServerState state(options(1));
  driver.join(state);
  driver.run(state, 5);
  const auto bytes = state.save();
  const auto refused = [](std::span<const std::byte> damaged) {
    ServerState restored(options(2));
    EXPECT_THROW(restored.restore(damaged, "saved", at_ms(0)), Error);
    EXPECT_EQ(restored.next_expiry(), Time::max());
  };
  for (std::size_t size = 0; size < bytes.size(); size += size < 400 ? 1 : 997) {
    refused(std::span(bytes).first(size));
  }
  auto longer = bytes;
  longer.push_back(std::byte{0});
  refused(longer);
  // Lengths and counts that are lies, wherever they are: an Error or a state, never a crash.
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    auto damaged = bytes;
    const std::size_t place = i < 1500 ? random() % 400 : random() % bytes.size();
    damaged[place] ^= std::byte(1U << (random() % 8));
    ServerState restored(options(2));
    try {
      restored.restore(damaged, "saved", at_ms(0));
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch)
    }
  }
}

TEST(ServerSave, ForeignStatesAreNamed) {
  ServerState state(options(1));
  auto bytes = state.save();
  const auto refused = [&](ErrorCode code, const std::string& part, const ServerStateOptions& by) {
    ServerState other(by);
    expect_error(code, "snapshot saved.snapshot " + part,
                 [&] { other.restore(bytes, "saved.snapshot", at_ms(0)); });
  };
  refused(ErrorCode::invalid_argument, "is of server 0 of 1, and this is server 1 of 2",
          {.index = 1, .servers = 2});
  refused(ErrorCode::version_mismatch, "is of the job 'default', and this server's job is 'another'",
          {.job = "another"});
  for (const int version : {1, 9}) {
    bytes[0] = static_cast<std::byte>(version);
    refused(ErrorCode::version_mismatch, "holds a state of version " + std::to_string(version), options(1));
  }
}

}  // namespace
}  // namespace gradwire::server
