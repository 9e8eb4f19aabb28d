#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <limits>
#include <string>
#include <vector>

#include "compress/cuda/device.hpp"
#include "gradwire/reducer.hpp"
#include "local_world.hpp"
#include "placed_gradients.hpp"
#include "tests/support/has_device.hpp"

// What a Reducer of gradients on devices keeps: through failed steps, and in states that go from place to
// place.

namespace gradwire {
namespace {

using testing::HasSubstr;

class DeviceReducerState : public OnDevices {};

/// What one place saved the other resumes, bit for bit.
TEST_F(DeviceReducerState, MovesItsStateToOtherPlaces) {
  std::vector<Device> places{kHost, Device::cuda(0)};
  if (has_device(1)) places.push_back(Device::cuda(1));
  const ReducerOptions options{.codec = "onebit"};
  expect_ranks(3, [&](Communicator& communicator) {
    PlacedGradients whole(communicator.rank(), all_on(kHost));
    Reducer uninterrupted(communicator, whole.tensors(), options);
    run_steps(whole, uninterrupted, 0, 5);
    uninterrupted.rescale_residuals(1.5F);
    run_steps(whole, uninterrupted, 5, 7);
    const std::string collapsed = uninterrupted.save_collapsed_state();
    for (const Device from : places) {
      for (const Device to : places) {
        PlacedGradients first(communicator.rank(), all_on(from));
        Reducer saved(communicator, first.tensors(), options);
        run_steps(first, saved, 0, 5);
        PlacedGradients second(communicator.rank(), all_on(to));
        Reducer resumed(communicator, second.tensors(), options);
        resumed.load_state(saved.save_state());
        EXPECT_EQ(resumed.step(), 5U);
        resumed.rescale_residuals(1.5F);
        run_steps(second, resumed, 5, 7);
        EXPECT_TRUE(same_bits(second.all(), whole.all()));
        EXPECT_EQ(resumed.save_state(), uninterrupted.save_state());
        EXPECT_EQ(resumed.save_collapsed_state(), collapsed);
      }
    }
  });
}

TEST_F(DeviceReducerState, TakesACollapsedStateAsTheHostDoes) {
  expect_ranks(3, [](Communicator& communicator) {
    const ReducerOptions options{.codec = "onebit"};
    PlacedGradients gradients(communicator.rank(), all_on(Device::cuda(0)));
    PlacedGradients expected(communicator.rank(), all_on(kHost));
    Reducer reducer(communicator, gradients.tensors(), options);
    Reducer reference(communicator, expected.tensors(), options);
    run_steps(gradients, reducer, 0, 2);
    run_steps(expected, reference, 0, 2);
    const std::string collapsed = reference.save_collapsed_state();
    reducer.load_state(collapsed);
    reference.load_state(collapsed);
    EXPECT_EQ(reducer.save_state(), reference.save_state());
    // Where the codec loses nothing the residual waits.
    for (Reducer* each : {&reducer, &reference}) each->set_codec("none");
    run_steps(gradients, reducer, 2, 3);
    run_steps(expected, reference, 2, 3);
    for (Reducer* each : {&reducer, &reference}) each->set_codec("fp16");
    run_steps(gradients, reducer, 3, 5);
    run_steps(expected, reference, 3, 5);
    EXPECT_TRUE(same_bits(gradients.all(), expected.all()));
    EXPECT_EQ(reducer.save_state(), reference.save_state());
  });
}

TEST_F(DeviceReducerState, ANonFiniteStepLeavesResidualsAndTheNextStepWorks) {
  for (const bool transactional : {true, false}) {
    expect_ranks(3, [&](Communicator& communicator) {
      const ReducerOptions options{.codec = "onebit", .bucket_bytes = 4096, .transactional = transactional};
      PlacedGradients gradients(communicator.rank(), all_on(Device::cuda(0)));
      PlacedGradients expected(communicator.rank(), all_on(kHost));
      Reducer reducer(communicator, gradients.tensors(), options);
      Reducer reference(communicator, expected.tensors(), options);
      run_steps(gradients, reducer, 0, 1);
      run_steps(expected, reference, 0, 1);
      const std::string before = reducer.save_state();
      for (PlacedGradients* each : {&gradients, &expected}) {
        each->fill(1);
        each->all();
        if (communicator.rank() == 1) each->host().weights()[5] = std::numeric_limits<float>::quiet_NaN();
        each->send();
      }
      for (Reducer* each : {&reducer, &reference}) {
        try {
          each->wait();
          ADD_FAILURE() << "no error";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::non_finite) << error.what();
        }
      }
      EXPECT_EQ(reducer.save_state(), reference.save_state());
      if (transactional) {
        EXPECT_EQ(reducer.save_state(), before);
      }
      run_steps(gradients, reducer, 2, 3);
      run_steps(expected, reference, 2, 3);
      EXPECT_TRUE(same_bits(gradients.all(), expected.all()));
    });
  }
}

/// The step in which a peer is lost leaves the state of the one before.
TEST_F(DeviceReducerState, ALostPeerLeavesTheLastFinishedStep) {
  std::barrier first_step_ended(3);
  const auto errors = run_ranks(3, [&](Communicator& communicator) {
    PlacedGradients gradients(communicator.rank(), all_on(Device::cuda(0)));
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit", .bucket_bytes = 4096});
    run_steps(gradients, reducer, 0, 1);
    first_step_ended.arrive_and_wait();
    const std::string before = reducer.save_state();
    gradients.fill(1);
    if (communicator.rank() == 2) {
      reducer.ready(0);
      communicator.abort();
      return;
    }
    try {
      reducer.wait();
      ADD_FAILURE() << "step 2 cannot have ended well";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::peer_lost) << error.what();
    }
    EXPECT_EQ(reducer.step(), 1U);
    EXPECT_EQ(reducer.save_state(), before);
  });
  for (const auto& error : errors) EXPECT_FALSE(error) << error->what();
}

/// Kernels that met it would end the process's use of CUDA.
TEST_F(DeviceReducerState, LooksAtItsMemoryAgainBeforeEachStep) {
  auto memory = compress::allocate_device(8000);
  compress::fill_on(nullptr, memory.get(), std::byte{0}, 8000);
  Reducer reducer(Communicator(), {{"w", Tensor(memory.get(), 2000, DType::float32, Device::cuda(0))}},
                  {.codec = "onebit"});
  reducer.wait();
  const std::string before = reducer.save_state();
  memory.reset();
  for (const bool ready : {true, false}) {
    try {
      if (ready) {
        reducer.ready(0);
      } else {
        reducer.wait();
      }
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
      EXPECT_THAT(error.what(), HasSubstr("tensor 'w'"));
    }
  }
  EXPECT_EQ(reducer.step(), 1U);
  EXPECT_EQ(reducer.save_state(), before);
}

}  // namespace
}  // namespace gradwire
