#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "gradients.hpp"
#include "gradwire/reducer.hpp"
#include "local_world.hpp"

// What a Reducer keeps: through failed steps, in saved states, and in worlds of another size.

namespace gradwire {
namespace {

TEST(Reducer, ResumesBitForBit) {
  expect_ranks(3, [](Communicator& communicator) {
    const auto run = [&](Gradients& gradients, Reducer& reducer, unsigned from, unsigned to) {
      for (unsigned step = from; step < to; ++step) {
        gradients.fill(step);
        reducer.wait();
      }
    };
    const ReducerOptions options{.codec = "onebit"};
    Gradients whole(communicator.rank());
    Reducer uninterrupted(communicator, whole.tensors(), options);
    run(whole, uninterrupted, 0, 8);

    std::string state;
    {
      Gradients first(communicator.rank());
      Reducer reducer(communicator, first.tensors(), options);
      run(first, reducer, 0, 5);
      state = reducer.save_state();
    }
    Gradients second(communicator.rank());
    Reducer resumed(communicator, second.tensors(), options);
    resumed.load_state(state);
    EXPECT_EQ(resumed.step(), 5U);
    run(second, resumed, 5, 8);
    EXPECT_EQ(second.weights(), whole.weights());
    EXPECT_EQ(0, std::memcmp(resumed.residual("weights").data(), uninterrupted.residual("weights").data(),
                             whole.weights().size() * sizeof(float)));
  });
}

/// Four ranks' residuals, collapsed, load into a world of two: their sum over ranks is unchanged.
TEST(Reducer, CollapsedStateFitsAnyWorldSize) {
  std::string state;
  std::vector<double> sum(40'000);
  std::mutex mutex;
  expect_ranks(4, [&](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    gradients.fill(0);
    reducer.wait();
    std::string mine = reducer.save_collapsed_state();
    const std::lock_guard lock(mutex);
    const auto residual = reducer.residual("weights");
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += residual[i];
    state = std::move(mine);
  });
  std::vector<double> loaded(40'000);
  expect_ranks(2, [&](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    reducer.load_state(state);
    reducer.rescale_residuals(2.0F);
    const std::lock_guard lock(mutex);
    const auto residual = reducer.residual("weights");
    for (std::size_t i = 0; i < loaded.size(); ++i) loaded[i] += residual[i] / 2.0;
  });
  for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_NEAR(loaded[i], sum[i], 1e-5) << i;
}

TEST(Reducer, RefusesStatesThatDoNotFit) {
  Communicator alone;
  std::vector<float> values(2000);
  const std::vector<NamedTensor> tensors{{"w", std::span(values)}};
  Reducer reducer(alone, tensors, {.codec = "onebit"});
  const std::string good = reducer.save_state();
  reducer.load_state(good);
  const auto refused = [&](const std::string& state) {
    try {
      reducer.load_state(state);
    } catch (const Error& error) {
      return error.code() == ErrorCode::invalid_argument;
    }
    return false;
  };
  EXPECT_TRUE(refused(""));
  for (std::size_t length = 0; length < good.size(); length += 97)
    EXPECT_TRUE(refused(good.substr(0, length)));
  for (std::size_t at = 0; at < good.size(); at += 31) {
    std::string flipped = good;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    EXPECT_TRUE(refused(flipped)) << at;
  }
  std::vector<float> other(1999);
  Reducer smaller(alone, {{"w", std::span(other)}}, {.codec = "onebit"});
  EXPECT_TRUE(refused(smaller.save_state()));
  Reducer renamed(alone, {{"v", std::span(values)}}, {.codec = "onebit"});
  EXPECT_TRUE(refused(renamed.save_state()));
  Reducer empty(alone, {}, {.codec = "onebit"});
  EXPECT_TRUE(refused(empty.save_state()));
}

/// A residual has no use where its tensor goes raw: the caller decides about it, and nothing changes before.
TEST(Reducer, RefusesResidualsForWhatGoesRaw) {
  Communicator alone;
  std::vector<float> values(2000);
  const std::vector<NamedTensor> tensors{{"w", std::span(values)}};
  Reducer encodes(alone, tensors, {.codec = "onebit"});
  const std::string state = encodes.save_state();
  Reducer raw(alone, tensors, {.codec = "onebit", .raw_below = 4000});
  const std::string before = raw.save_state();
  try {
    raw.load_state(state);
    ADD_FAILURE() << "a residual was dropped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), testing::HasSubstr("tensor 'w' has a residual in the state and goes raw here"));
  }
  EXPECT_EQ(raw.save_state(), before);
  // The other way round there is nothing to lose.
  encodes.load_state(before);
  EXPECT_THAT(encodes.residual("w"), testing::Each(0.0F));
}

/// The step in which a peer is lost leaves the state of the one before, and no later step claims success.
TEST(Reducer, ALostPeerLeavesTheLastFinishedStep) {
  std::barrier first_step_ended(3);
  const auto errors = run_ranks(3, [&](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit", .bucket_bytes = 4096});
    gradients.fill(0);
    reducer.wait();
    first_step_ended.arrive_and_wait();
    const std::string before = reducer.save_state();
    if (communicator.rank() == 2) {
      communicator.abort();
      return;
    }
    gradients.fill(1);
    for (int attempt = 0; attempt < 3; ++attempt) {
      try {
        if (attempt > 0) reducer.ready(0);
        reducer.wait();
        ADD_FAILURE() << "step 2 cannot have ended well";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::peer_lost);
      }
      // ready() threw in the middle of the step: what was begun has to be waited for.
      if (attempt > 0) {
        EXPECT_THROW(reducer.wait(), Error);
      }
      EXPECT_EQ(reducer.step(), 1U);
      EXPECT_EQ(reducer.save_state(), before);
    }
  });
  for (const auto& error : errors) EXPECT_FALSE(error) << error->what();
}

TEST(Reducer, ANonFiniteStepLeavesResidualsAndTheNextStepWorks) {
  expect_ranks(3, [](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit", .bucket_bytes = 4096});
    gradients.fill(0);
    reducer.wait();
    const std::vector<float> before(reducer.residual("weights").begin(), reducer.residual("weights").end());
    gradients.fill(1);
    if (communicator.rank() == 1) gradients.weights()[5] = std::numeric_limits<float>::quiet_NaN();
    try {
      reducer.wait();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::non_finite);
    }
    EXPECT_EQ(reducer.step(), 1U);
    EXPECT_TRUE(std::equal(before.begin(), before.end(), reducer.residual("weights").begin()));
    gradients.fill(1);
    reducer.wait();
    EXPECT_EQ(reducer.step(), 2U);
    EXPECT_TRUE(std::isfinite(gradients.weights()[5]));
  });
}

TEST(Reducer, APropagatedNaNSkipsTheResidualsAndCountsAsAStep) {
  expect_ranks(3, [](Communicator& communicator) {
    Gradients gradients(communicator.rank());
    Reducer reducer(communicator, gradients.tensors(),
                    {.codec = "onebit", .on_non_finite = OnNonFinite::propagate});
    gradients.fill(0);
    reducer.wait();
    const auto span = reducer.residual("weights");
    const std::vector<float> before(span.begin(), span.end());
    gradients.fill(1);
    if (communicator.rank() == 2) gradients.weights()[39'999] = std::numeric_limits<float>::infinity();
    reducer.wait();
    EXPECT_EQ(reducer.step(), 2U);
    EXPECT_THAT(gradients.weights(), testing::Each(testing::IsNan()));
    EXPECT_TRUE(std::equal(before.begin(), before.end(), reducer.residual("weights").begin()));
  });
}

TEST(Reducer, InPlaceFeedbackGivesTheSameBits) {
  expect_ranks(3, [](Communicator& communicator) {
    Gradients versioned(communicator.rank());
    Gradients in_place(communicator.rank());
    Reducer one(communicator, versioned.tensors(), {.codec = "onebit"});
    Reducer two(communicator, in_place.tensors(), {.codec = "onebit", .transactional = false});
    for (unsigned step = 0; step < 4; ++step) {
      versioned.fill(step);
      in_place.fill(step);
      one.wait();
      two.wait();
      EXPECT_EQ(versioned.all(), in_place.all());
    }
    EXPECT_EQ(one.save_state(), two.save_state());
  });
}

}  // namespace
}  // namespace gradwire
