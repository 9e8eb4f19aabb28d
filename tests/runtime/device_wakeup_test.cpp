#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "compress/cuda/emulated_device.hpp"
#include "gradwire/communicator.hpp"
#include "local_world.hpp"
#include "tests/support/device_copy.hpp"

// A device tells nobody when it is done. Whoever drives must look again after each answer "not yet", also
// where the device is done the moment after, and nothing arrives at a link any more.

namespace gradwire {
namespace {

class DeviceWakeup : public ::testing::TestWithParam<const char*> {};

TEST_P(DeviceWakeup, ComesWhenADeviceIsDoneJustAfterItWasAsked) {
  const compress::emulated::EventsAreJustMissed missed;
  for (const char* algorithm : {"ring", "two-shot", "one-shot"}) {
    for (const bool progress_thread : {false, true}) {
      SCOPED_TRACE(algorithm);
      expect_ranks(
          3,
          [&](Communicator& communicator) {
            const compress::OwnStream stream;
            std::vector<float> values(70'000, static_cast<float>(communicator.rank()));
            const DeviceCopy copy(values, stream.get());
            for (const char* codec : {"none", "onebit"}) {
              communicator.allreduce(
                  copy.tensor(),
                  {.codec = codec, .algorithm = algorithm, .average = true, .stream = stream.get()});
            }
            copy.fetch(stream.get());
            stream.wait();
            for (const float value : values) ASSERT_NEAR(value, 1.0F, 0.01F);
          },
          [&](CommunicatorOptions& options) {
            options.transport = GetParam();
            options.progress_thread = progress_thread;
            options.timeout = std::chrono::seconds(5);
          });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, DeviceWakeup, ::testing::Values("inproc", "shm", "tcp"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace gradwire
