#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <limits>
#include <string>

#include "compress/cuda/device.hpp"
#include "gradwire/reducer.hpp"
#include "local_world.hpp"
#include "placed_gradients.hpp"

// Steps that fail, of Reducers with gradients on devices.

namespace gradwire {
namespace {

using testing::HasSubstr;

class DeviceReducerFailure : public OnDevices {};

TEST_F(DeviceReducerFailure, ANonFiniteStepLeavesResidualsAndTheNextStepWorks) {
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
TEST_F(DeviceReducerFailure, ALostPeerLeavesTheLastFinishedStep) {
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
TEST_F(DeviceReducerFailure, LooksAtItsMemoryAgainBeforeEachStep) {
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

/// What a rank cannot launch its peers would wait for; or its next step would be taken for this one.
TEST_F(DeviceReducerFailure, ARankThatCannotLaunchIsLostToItsPeers) {
  for (const bool by_ready : {true, false}) {
    std::barrier both(2);
    const auto errors = run_ranks(2, [&](Communicator& communicator) {
      auto memory = compress::allocate_device(8000);
      compress::fill_on(nullptr, memory.get(), std::byte{0}, 8000);
      Reducer reducer(communicator, {{"w", Tensor(memory.get(), 2000, DType::float32, Device::cuda(0))}},
                      {.codec = "onebit"});
      reducer.wait();
      both.arrive_and_wait();
      const bool lacks_memory = communicator.rank() == 0;
      if (lacks_memory) memory.reset();
      try {
        if (lacks_memory && by_ready) reducer.ready(0);
        reducer.wait();
        ADD_FAILURE() << "step 2 cannot have ended well";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), lacks_memory ? ErrorCode::invalid_argument : ErrorCode::peer_lost)
            << error.what();
        if (!lacks_memory) {
          EXPECT_EQ(error.peer(), 0);
        }
      }
      // Until the other one has been told, this one's communicator is not destroyed.
      both.arrive_and_wait();
      try {
        communicator.barrier();
        ADD_FAILURE() << "one of them has left out a step";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::peer_lost) << error.what();
      }
      EXPECT_EQ(reducer.step(), 1U);
    });
    for (const auto& error : errors) EXPECT_FALSE(error) << error->what();
  }
}

}  // namespace
}  // namespace gradwire
