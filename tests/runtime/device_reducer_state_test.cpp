#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "compress/cuda/device.hpp"
#include "gradwire/reducer.hpp"
#include "local_world.hpp"
#include "placed_gradients.hpp"
#include "tests/support/has_device.hpp"

// What a Reducer of gradients on devices keeps, in states that go from place to place.

namespace gradwire {
namespace {

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

}  // namespace
}  // namespace gradwire
