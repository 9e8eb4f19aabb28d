#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <latch>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gradwire/communicator.hpp"
#include "local_world.hpp"
#include "tests/support/every_algorithm.hpp"

// What a Communicator does when ranks disagree, stop, or pass what makes no sense.

namespace gradwire {
namespace {

using testing::HasSubstr;

TEST(Communicator, DifferentOperationsAreAnOrderMismatchOnAllRanks) {
  const std::vector<std::function<void(Communicator&, bool)>> disagreements{
      [](Communicator& communicator, bool odd) {
        std::vector<float> values(odd ? 1001 : 1000);
        communicator.allreduce(std::span(values));
      },
      [](Communicator& communicator, bool odd) {
        std::vector<float> values(1000);
        communicator.allreduce(std::span(values), {.codec = odd ? "onebit" : "fp16"});
      },
      [](Communicator& communicator, bool odd) {
        std::vector<std::uint16_t> values(1000);
        communicator.allreduce(Tensor(values.data(), 1000, odd ? DType::bfloat16 : DType::float16));
      },
      [](Communicator& communicator, bool odd) {
        std::vector<float> values(1000);
        communicator.allreduce(std::span(values), {.tag = odd ? 1U : 2U});
      },
      [](Communicator& communicator, bool odd) {
        std::vector<float> values(1000);
        communicator.allreduce(std::span(values),
                               {.on_non_finite = odd ? OnNonFinite::error : OnNonFinite::propagate});
      },
  };
  for (const auto& disagree : disagreements) {
    const auto errors =
        run_ranks(4, [&](Communicator& communicator) { disagree(communicator, communicator.rank() == 2); });
    for (const auto& error : errors) {
      ASSERT_TRUE(error.has_value());
      EXPECT_EQ(error->code(), ErrorCode::order_mismatch) << error->what();
      EXPECT_THAT(error->what(), HasSubstr("(this one) waits for operation 0 (allreduce auto"));
    }
  }
}

/// A store that runs `before_set` before each set.
class WatchedStore final : public Store {
 public:
  WatchedStore(std::shared_ptr<Store> store, std::function<void(const std::string&)> before_set)
      : store_(std::move(store)), before_set_(std::move(before_set)) {}
  void set(const std::string& key, const std::string& value) override {
    before_set_(key);
    store_->set(key, value);
  }
  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override {
    return store_->get(key, timeout);
  }

 private:
  std::shared_ptr<Store> store_;
  std::function<void(const std::string&)> before_set_;
};

/// Rank 1 submits nothing else than the others, but less, and hears of their failure before it learns more.
TEST(Communicator, AMismatchIsNotBlamedOnWhoIsOnlyBehind) {
  std::latch told(1);
  const auto errors = run_ranks(
      3,
      [&](Communicator& communicator) {
        std::vector<float> scattered(999);
        const std::array tensors{OperationTensor{.tensor = std::span(scattered)}};
        // Ranks 0 and 2 need nothing from rank 1 to get at each other's second operation.
        Plan plan = communicator.plan_reduce_scatter(tensors, {.algorithm = "two-shot"});
        if (communicator.rank() == 1) told.wait();
        Work work = plan.start();
        if (communicator.rank() != 1) {
          std::vector<float> values(communicator.rank() == 2 ? 1001 : 1000);
          communicator.allreduce(std::span(values), {.algorithm = "two-shot"});
        }
        work.wait();
      },
      [&](CommunicatorOptions& options) {
        if (options.rank != 0) return;
        options.store = std::make_shared<WatchedStore>(options.store, [&](const std::string& key) {
          if (key.find("/position/") != std::string::npos) told.count_down();
        });
      });
  for (const auto& error : errors) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), ErrorCode::order_mismatch) << error->what();
  }
  EXPECT_EQ(errors[0]->peer(), 2) << errors[0]->what();
  EXPECT_THAT(errors[0]->what(), HasSubstr("rank 0 (this one) waits for operation"));
  EXPECT_EQ(errors[2]->peer(), 0) << errors[2]->what();
}

/// What a store throws is no reason to keep silent towards the peers, or to forget what happened.
TEST(Communicator, AStoreThatThrowsDoesNotHideTheFailure) {
  const auto errors = run_ranks(
      3,
      [](Communicator& communicator) {
        std::vector<float> values(communicator.rank() == 2 ? 1001 : 1000);
        communicator.allreduce(std::span(values));
      },
      [](CommunicatorOptions& options) {
        options.store = std::make_shared<WatchedStore>(options.store, [](const std::string& key) {
          if (key.find("/position/") != std::string::npos) throw std::runtime_error("the store is closed");
        });
      });
  for (const auto& error : errors) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), ErrorCode::order_mismatch) << error->what();
  }
}

/// Each waits for the other: no frame crosses that could show it.
TEST(Communicator, DifferentOperationsAreFoundOutWhereNoFrameCrosses) {
  const auto errors = run_ranks(
      2,
      [](Communicator& communicator) {
        std::vector<float> values(1000);
        communicator.broadcast(std::span(values), {.root = 1 - communicator.rank()});
      },
      [](CommunicatorOptions& options) { options.timeout = std::chrono::milliseconds(300); });
  for (const auto& error : errors) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), ErrorCode::order_mismatch) << error->what();
  }
}

TEST(Communicator, ARankThatSubmitsFewerIsATimeoutThatTellsHowFarEachCame) {
  const auto errors = run_ranks(
      5,
      [](Communicator& communicator) {
        // A ring: most ranks never hear from each other.
        std::vector<float> values(100);
        const OperationOptions ring{.algorithm = "ring"};
        communicator.allreduce(std::span(values), ring);
        if (communicator.rank() == 1) {
          std::this_thread::sleep_for(std::chrono::milliseconds(2500));
          return;
        }
        communicator.allreduce(std::span(values), ring);
      },
      [](CommunicatorOptions& options) { options.timeout = std::chrono::milliseconds(400); });
  EXPECT_FALSE(errors[1].has_value());
  for (const std::size_t rank : {0U, 2U, 3U, 4U}) {
    ASSERT_TRUE(errors[rank].has_value());
    EXPECT_EQ(errors[rank]->code(), ErrorCode::timeout) << errors[rank]->what();
    EXPECT_EQ(errors[rank]->peer(), 1);
    EXPECT_THAT(errors[rank]->what(), HasSubstr("rank 1: no answer"));
    for (const std::size_t other : {0U, 2U, 3U, 4U}) {
      if (other == rank) continue;
      EXPECT_THAT(errors[rank]->what(), HasSubstr("rank " + std::to_string(other) + ": 2"));
    }
  }
}

TEST(Communicator, ARankThatIsBehindButAliveAnswers) {
  const auto errors = run_ranks(
      3,
      [](Communicator& communicator) {
        std::vector<float> values(100);
        communicator.allreduce(std::span(values));
        communicator.start_progress_thread();
        Work work = communicator.allreduce_async(std::span(values));
        if (communicator.rank() == 1) {
          work.wait();
          return;
        }
        std::vector<float> more(100);
        if (communicator.rank() == 0) communicator.allreduce(std::span(more));
        work.wait();
        if (communicator.rank() == 2) communicator.allreduce(std::span(more));
      },
      [](CommunicatorOptions& options) { options.timeout = std::chrono::milliseconds(400); });
  // Rank 1 left on purpose: that, and not the time, is what the others are told.
  for (const std::size_t rank : {0U, 2U}) {
    ASSERT_TRUE(errors[rank].has_value());
    EXPECT_EQ(errors[rank]->code(), ErrorCode::peer_lost) << errors[rank]->what();
    EXPECT_EQ(errors[rank]->peer(), 1);
  }
}

TEST(Communicator, PollingTimesOutToo) {
  const auto errors = run_ranks(
      2,
      [](Communicator& communicator) {
        if (communicator.rank() == 1) {
          std::this_thread::sleep_for(std::chrono::milliseconds(2500));
          return;
        }
        std::vector<float> values(100);
        Work work = communicator.allreduce_async(std::span(values));
        while (!work.wait_for(std::chrono::milliseconds(1))) {
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
      },
      [](CommunicatorOptions& options) { options.timeout = std::chrono::milliseconds(300); });
  EXPECT_FALSE(errors[1].has_value());
  ASSERT_TRUE(errors[0].has_value());
  EXPECT_EQ(errors[0]->code(), ErrorCode::timeout) << errors[0]->what();
}

/// Who computes for longer than the timeout between two looks was not waiting.
TEST(Communicator, BeingAwayIsNotWaiting) {
  expect_ranks(
      2,
      [](Communicator& communicator) {
        std::vector<float> values(100, 1.0F);
        Work work = communicator.allreduce_async(std::span(values));
        const int busy = communicator.rank() == 0 ? 900 : 1000;
        std::this_thread::sleep_for(std::chrono::milliseconds(busy));
        work.wait();
        EXPECT_EQ(values[0], 2.0F);
      },
      [](CommunicatorOptions& options) { options.timeout = std::chrono::milliseconds(600); });
}

class NonFinite : public testing::TestWithParam<std::string> {};

TEST_P(NonFinite, IsAnErrorOnEveryRankAndKeepsResiduals) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    expect_ranks(4, [&](Communicator& communicator) {
      std::vector<float> values(9000, 1.5F);
      if (communicator.rank() == 3) values[4567] = bad;
      std::vector<float> residual(9000, 0.25F);
      std::vector<float> next(9000);
      const std::array tensors{OperationTensor{
          .tensor = std::span(values), .residual = residual, .next_residual = next, .codec = {}}};
      Plan plan = communicator.plan_allreduce(tensors, {.codec = "onebit", .algorithm = GetParam()});
      try {
        plan.run();
        ADD_FAILURE() << "no error on rank " << communicator.rank();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::non_finite);
      }
      EXPECT_THAT(residual, testing::Each(0.25F));
      EXPECT_THAT(next, testing::Each(0.25F));
      EXPECT_THAT(values, testing::Each(testing::IsNan()));
      // The communicator goes on.
      std::fill(values.begin(), values.end(), 1.5F);
      plan.run();
      EXPECT_TRUE(std::isfinite(values[4567]));
    });
  }
}

TEST_P(NonFinite, PropagatesWhenAskedTo) {
  expect_ranks(3, [&](Communicator& communicator) {
    std::vector<float> values(5000, 1.0F);
    if (communicator.rank() == 0) values[0] = std::numeric_limits<float>::infinity();
    communicator.allreduce(
        std::span(values),
        {.codec = "onebit", .algorithm = GetParam(), .on_non_finite = OnNonFinite::propagate});
    EXPECT_THAT(values, testing::Each(testing::IsNan()));
  });
}

INSTANTIATE_TEST_SUITE_P(Algorithms, NonFinite, testing::ValuesIn(algorithm_names()),
                         [](const auto& instance) { return identifier(instance.param); });

TEST(Communicator, AbortEndsOperationsEverywhere) {
  const auto errors = run_ranks(4, [](Communicator& communicator) {
    std::vector<float> values(100'000, 1.0F);
    if (communicator.rank() == 2) {
      communicator.abort();
      communicator.allreduce(std::span(values));
      return;
    }
    communicator.allreduce(std::span(values));
  });
  for (const auto& error : errors) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), ErrorCode::peer_lost) << error->what();
    EXPECT_EQ(error->peer(), 2) << error->what();
  }
}

TEST(Communicator, RefusesWhatMakesNoSense) {
  Communicator alone;
  std::vector<float> values(10);
  std::vector<float> short_residual(9);
  const auto code_of = [&](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::system;
  };
  EXPECT_EQ(code_of([&] { alone.allreduce(std::span(values), {.codec = "twobit"}); }),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { alone.allreduce(std::span(values), {.algorithm = "star"}); }),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { alone.allreduce(std::span(values), {}, short_residual); }),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { alone.broadcast(std::span(values), {.root = 1}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { alone.allreduce(Tensor(nullptr, 5, DType::float32)); }),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { Communicator({.rank = 0, .world_size = 0}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { Communicator({.rank = 4, .world_size = 2}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { Communicator({.link_rate = "fast"}); }), ErrorCode::invalid_argument);
  // Before anybody waits for a store that is not there.
  EXPECT_EQ(
      code_of([&] { Communicator({.rank = 1, .world_size = 65537, .store_url = "tcp://127.0.0.1:9"}); }),
      ErrorCode::invalid_argument);
  EXPECT_EQ(
      code_of([&] {
        Communicator(
            {.rank = 1, .world_size = 2, .job = std::string(256, 'j'), .store_url = "tcp://127.0.0.1:9"});
      }),
      ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { Plan().run(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { (void)Plan().wire_bytes(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { (void)Plan().algorithm(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { (void)Plan().non_finite(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { Plan().swap_residuals(); }), ErrorCode::invalid_argument);
  std::vector<float> next(10);
  const std::array half{
      OperationTensor{.tensor = std::span(values), .residual = {}, .next_residual = next, .codec = {}}};
  EXPECT_EQ(code_of([&] { (void)alone.plan_allreduce(half); }), ErrorCode::invalid_argument);
  std::vector<float> shared(15);
  const std::array aliased{OperationTensor{
      .tensor = std::span(shared).first(10), .residual = std::span(shared).last(10), .codec = {}}};
  EXPECT_EQ(code_of([&] { (void)alone.plan_allreduce(aliased); }), ErrorCode::invalid_argument);
  const std::array whole{OperationTensor{.tensor = std::span(values)}};
  EXPECT_EQ(code_of([&] { (void)alone.plan_allreduce(whole).owned(1); }), ErrorCode::invalid_argument);
  EXPECT_EQ(alone.plan_broadcast(whole).algorithm(), "binomial");
}

/// A call of the same shape finds what an earlier one has left, and may bring other memory.
TEST(Communicator, LooksAtItsMemoryInEveryCall) {
  Communicator alone;
  std::vector<float> values(10);
  std::vector<float> short_residual(9);
  const auto calls = [&](const Tensor& tensor, std::span<float> residual) {
    const OperationOptions options{.codec = "fp16"};
    return std::array<std::function<void()>, 4>{
        [&alone, tensor, residual, options] { alone.allreduce(tensor, options, residual); },
        [&alone, tensor, residual, options] { (void)alone.reduce_scatter(tensor, options, residual); },
        [&alone, tensor, residual, options] { alone.allgather(tensor, options, residual); },
        [&alone, tensor, residual, options] { alone.broadcast(tensor, options, residual); }};
  };
  const auto expect_refused = [&](const Tensor& tensor, std::span<float> residual, const char* words) {
    for (const auto& call : calls(tensor, residual)) {
      try {
        call();
        ADD_FAILURE() << words;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
        EXPECT_THAT(error.what(), testing::HasSubstr(words));
      }
    }
  };
  for (int round = 0; round < 2; ++round) {
    for (const auto& call : calls(values, {})) call();
    expect_refused(Tensor(nullptr, 10, DType::float32), {}, "no memory");
    expect_refused(values, short_residual, "a residual of 9");
    expect_refused(values, values, "share memory");
  }
}

}  // namespace
}  // namespace gradwire
