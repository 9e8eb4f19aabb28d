// Where memory is short a call fails, and the Reducer is what it was.

#include <gtest/gtest.h>

#include <barrier>
#include <functional>
#include <string>
#include <vector>

#include "gradwire/reducer.hpp"
#include "local_world.hpp"
#include "placed_gradients.hpp"
#include "tests/support/has_device.hpp"
#include "tests/support/quick.hpp"
#include "tests/support/short_memory.hpp"

namespace gradwire {
namespace {

std::vector<Device> places() {
  return has_device(0) ? std::vector{kHost, Device::cuda(0)} : std::vector{kHost};
}

std::size_t allocations_of(const std::function<void()>& call) {
  std::size_t count = 0;
  const ShortMemory memory([&](std::size_t) { return ++count == 0; });
  call();
  return count;
}

/// Any allocation of set_codec() may be the one that fails: the codec stays, for all buckets.
TEST(ReducerMemory, ACodecThatGotNoneChangesNothing) {
  const std::size_t failures = quick() ? 3 : 9;
  struct Change {
    const char* from;
    const char* to;
  };
  for (const Device device : places()) {
    for (const auto& [from, to] :
         {Change{"none", "onebit"}, Change{"onebit", "fp16"}, Change{"fp16", "none"}}) {
      SCOPED_TRACE(std::string(from) + " to " + to + (device.is_host() ? "" : " on a device"));
      expect_ranks(2, [&, from = from, to = to](Communicator& communicator) {
        const ReducerOptions options{.codec = from, .bucket_bytes = 1};
        std::size_t needed = 0;
        {
          PlacedGradients gradients(communicator.rank(), all_on(device));
          Reducer reducer(communicator, gradients.tensors(), options);
          needed = allocations_of([&] { reducer.set_codec(to); });
        }
        for (std::size_t failure = 0; failure < failures; ++failure) {
          PlacedGradients gradients(communicator.rank(), all_on(device));
          PlacedGradients expected(communicator.rank(), all_on(device));
          Reducer reducer(communicator, gradients.tensors(), options);
          Reducer reference(communicator, expected.tensors(), options);
          run_steps(gradients, reducer, 0, 1);
          run_steps(expected, reference, 0, 1);
          EXPECT_FALSE(with_short_memory(needed * failure / failures, [&] { reducer.set_codec(to); }));
          EXPECT_TRUE(reducer.save_state() == reference.save_state()) << failure;
          run_steps(gradients, reducer, 1, 3);
          run_steps(expected, reference, 1, 3);
          EXPECT_TRUE(same_bits(gradients.all(), expected.all())) << failure;
          EXPECT_TRUE(reducer.save_state() == reference.save_state()) << failure;
        }
      });
    }
  }
}

/// Calls without memory for one of its tensors after another, and then with enough. What there was is whole
/// until the end.
void expect_all_or_nothing(Reducer& reducer, const std::function<void()>& call) {
  const std::string before = reducer.save_state();
  for (std::size_t failures = 0;; ++failures) {
    try {
      std::size_t spared = failures;
      const ShortMemory memory([&](std::size_t bytes) { return bytes > 10'000 && spared-- == 0; });
      call();
      EXPECT_GT(failures, 1U);
      break;
    } catch (const std::bad_alloc&) {
    }
    ASSERT_TRUE(reducer.save_state() == before) << failures;
  }
  EXPECT_TRUE(reducer.save_state() != before);
}

TEST(ReducerMemory, AStateIsLoadedWhollyOrNotAtAll) {
  for (const Device device : places()) {
    // Where there are residuals, and where there are none as yet.
    for (const char* codec : {"onebit", "none"}) {
      expect_ranks(2, [&](Communicator& communicator) {
        PlacedGradients gradients(communicator.rank(), all_on(device));
        Reducer saved(communicator, gradients.tensors(), {.codec = "onebit"});
        run_steps(gradients, saved, 0, 2);
        const std::string state = saved.save_state();
        Reducer reducer(communicator, gradients.tensors(), {.codec = codec});
        expect_all_or_nothing(reducer, [&] { reducer.load_state(state); });
        EXPECT_TRUE(reducer.save_state() == state);
      });
    }
  }
}

TEST(ReducerMemory, ResidualsAreRescaledAllOrNone) {
  if (!has_device(0)) GTEST_SKIP() << "on the host it takes no memory";
  expect_ranks(2, [](Communicator& communicator) {
    PlacedGradients gradients(communicator.rank(), all_on(Device::cuda(0)));
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    run_steps(gradients, reducer, 0, 2);
    expect_all_or_nothing(reducer, [&] { reducer.rescale_residuals(0.5F); });
  });
}

/// Only one of them lacks memory for a comparison: the others are told.
TEST(ReducerMemory, ARankThatCannotMeasureIsLostToItsPeers) {
  for (const Device device : places()) {
    std::size_t failures = 0;
    for (bool failed = true; failed;) {
      failed = false;
      std::barrier all_were_told(2);
      expect_ranks(2, [&](Communicator& communicator) {
        PlacedGradients gradients(communicator.rank(), all_on(device));
        Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit", .overlap = false});
        reducer.measure_next_step();
        gradients.fill(0);
        if (communicator.rank() == 0) {
          std::size_t spared = failures;
          const ShortMemory memory([&](std::size_t bytes) { return bytes > 100'000 && spared-- == 0; });
          try {
            reducer.wait();
          } catch (const std::bad_alloc&) {
            failed = true;
          }
          all_were_told.arrive_and_wait();
          return;
        }
        try {
          reducer.wait();
          all_were_told.arrive_and_wait();
          EXPECT_FALSE(failed);
        } catch (const Error& error) {
          all_were_told.arrive_and_wait();
          EXPECT_TRUE(failed);
          EXPECT_EQ(error.code(), ErrorCode::peer_lost) << error.what();
        }
      });
      if (failed) ++failures;
    }
    EXPECT_GT(failures, 1U);
  }
}

}  // namespace
}  // namespace gradwire
