#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "compress/cuda/emulated_device.hpp"
#include "gradwire/reducer.hpp"
#include "local_world.hpp"
#include "placed_gradients.hpp"
#include "tests/support/device_copy.hpp"

// What of a Reducer waits for which stream, with streams that the test holds back.

namespace gradwire {
namespace {

/// A stream that goes on when it is let go, or after a time that only a test which waits for it can take.
class HeldStream {
 public:
  explicit HeldStream(compress::Stream stream) {
    compress::emulated::put_on(stream, [state = state_] {
      std::unique_lock lock(state->mutex);
      state->changed.wait_for(lock, std::chrono::seconds(5), [&] { return state->is_let_go; });
      state->went_on = true;
    });
  }
  ~HeldStream() { let_go(); }
  HeldStream(const HeldStream&) = delete;
  HeldStream& operator=(const HeldStream&) = delete;

  void let_go() {
    const std::lock_guard lock(state_->mutex);
    state_->is_let_go = true;
    state_->changed.notify_all();
  }
  [[nodiscard]] bool went_on() const {
    const std::lock_guard lock(state_->mutex);
    return state_->went_on;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    bool is_let_go = false;
    bool went_on = false;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

/// Small enough to share a bucket, were it not for their streams.
TEST(ReducerStreams, AGradientIsTakenAfterItsOwnStream) {
  constexpr std::size_t kCount = 2000;
  expect_ranks(2, [&](Communicator& communicator) {
    const std::array<compress::OwnStream, 2> streams;
    std::array<std::vector<float>, 2> values{std::vector<float>(kCount), std::vector<float>(kCount)};
    const std::array<DeviceCopy, 2> copies{DeviceCopy(values[0], streams[0].get()),
                                           DeviceCopy(values[1], streams[1].get())};
    for (const compress::OwnStream& stream : streams) stream.wait();
    Reducer reducer(communicator, {{"first", copies[0].tensor(), streams[0].get()},
                                   {"second", copies[1].tensor(), streams[1].get()}});

    HeldStream held(streams[1].get());
    for (std::size_t i = 0; i < 2; ++i) {
      values[i].assign(kCount, static_cast<float>(communicator.rank() + 1));
      compress::copy_on(streams[i].get(), copies[i].data(), values[i].data(), sizeof(float) * kCount);
      reducer.ready(static_cast<int>(i));
    }
    while (communicator.traffic().operations == 0) std::this_thread::yield();
    EXPECT_FALSE(held.went_on());
    held.let_go();
    reducer.wait();
    for (std::size_t i = 0; i < 2; ++i) {
      copies[i].fetch(streams[i].get());
      streams[i].wait();
      EXPECT_EQ(values[i], std::vector<float>(kCount, 1.5F)) << i;
    }
  });
}

/// A training program's other kernels go there.
TEST(ReducerStreams, ResidualsDoNotWaitForTheDefaultStream) {
  HeldStream held(nullptr);
  expect_ranks(2, [](Communicator& communicator) {
    PlacedGradients gradients(communicator.rank(), all_on(Device::cuda(0)));
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    run_steps(gradients, reducer, 0, 2);
    const std::string state = reducer.save_state();
    reducer.rescale_residuals(2.0F);
    EXPECT_TRUE(reducer.save_state() != state);
    reducer.load_state(state);
    EXPECT_TRUE(reducer.save_state() == state);
  });
  EXPECT_FALSE(held.went_on());
}

}  // namespace
}  // namespace gradwire
