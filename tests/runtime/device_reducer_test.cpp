#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "compress/convert.hpp"
#include "compress/cuda/device.hpp"
#include "gradwire/reducer.hpp"
#include "local_world.hpp"
#include "placed_gradients.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/has_device.hpp"
#include "tests/support/normal_floats.hpp"
#include "tests/support/quick.hpp"

// Reducers of gradients on CUDA devices, beside the same ones on the host.

namespace gradwire {
namespace {

using testing::HasSubstr;

class DeviceReducer : public OnDevices {};

/// Who has gradients where.
struct Placement {
  const char* name;
  std::function<Places(int rank)> of;
};

const std::vector<Placement>& placements() {
  static const std::vector<Placement> all{
      {"one device", [](int) { return all_on(Device::cuda(0)); }},
      {"beside the host", [](int rank) { return all_on(rank % 2 == 0 ? Device::cuda(0) : kHost); }},
      {"two devices", [](int rank) { return all_on(Device::cuda(rank % 2)); }},
      {"in every rank two",
       [](int rank) {
         return Places{Device::cuda(rank % 2), Device::cuda(rank % 2), Device::cuda(1 - rank % 2)};
       }},
      {"part on the host",
       [](int) {
         return Places{Device::cuda(0), kHost, kHost};
       }},
  };
  return all;
}

/// Steps with gradients in some places, each beside the same one with all on the host in the same buckets.
void expect_as_on_the_host(Communicator& communicator, const Places& places, const ReducerOptions& options) {
  PlacedGradients gradients(communicator.rank(), places);
  PlacedGradients expected(communicator.rank(), all_on(kHost));
  Reducer reducer(communicator, gradients.tensors(), options);
  Reducer reference(communicator, expected.tensors(), options);
  for (unsigned step = 0; step < 3; ++step) {
    gradients.fill(step);
    for (int i = 0; i < 3; ++i) reducer.ready((i + communicator.rank()) % 3);
    reducer.wait();
    run_steps(expected, reference, step, step + 1);
    ASSERT_TRUE(same_bits(gradients.all(), expected.all())) << "step " << step;
    ASSERT_EQ(reducer.save_state(), reference.save_state()) << "step " << step;
  }
}

class DeviceReducerOver : public DeviceReducer, public ::testing::WithParamInterface<const char*> {};

/// Every placement with every number of ranks and every codec, and these with each other.
TEST_P(DeviceReducerOver, HasTheBitsOfTheHost) {
  const std::array codecs{"none", "fp16", "bf16", "onebit", "onebit:block=64,scale=l2"};
  for (std::size_t at = 0; at < placements().size(); ++at) {
    const Placement& placement = placements()[at];
    if (!has_device(1) && std::string(placement.name).find("two") != std::string::npos) continue;
    for (int ranks = 1; ranks <= 5; ranks += quick() ? 3 : 1) {
      const std::size_t turn = at + static_cast<std::size_t>(ranks);
      const char* codec = codecs[turn % codecs.size()];
      SCOPED_TRACE(std::string(placement.name) + ", " + codec + ", " + std::to_string(ranks) + " ranks");
      // Each tensor is a bucket, where one begins with the next place anyway.
      expect_ranks(
          ranks,
          [&](Communicator& communicator) {
            expect_as_on_the_host(communicator, placement.of(communicator.rank()),
                                  {.codec = codec,
                                   .bucket_bytes = 1,
                                   .overlap = turn % 2 == 0,
                                   .transactional = turn % 3 != 0});
          },
          [](CommunicatorOptions& options) { options.transport = GetParam(); });
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, DeviceReducerOver, ::testing::Values("inproc", "shm"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST_F(DeviceReducer, SharesBucketsAmongTheGradientsOfAPlace) {
  expect_ranks(3, [](Communicator& communicator) {
    expect_as_on_the_host(communicator, all_on(Device::cuda(0)), {.codec = "onebit"});
  });
}

TEST_F(DeviceReducer, BeginsABucketWhereGradientsChangeTheirPlace) {
  expect_ranks(2, [](Communicator& communicator) {
    PlacedGradients gradients(communicator.rank(), {Device::cuda(0), kHost, kHost});
    Reducer reducer(communicator, gradients.tensors());
    run_steps(gradients, reducer, 0, 1);
    const Expected expected(2, 0);
    const auto values = gradients.all();
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(values[i], expected.mean[i], 2 * 0x1p-23 * expected.magnitude[i]) << i;
    }
  });
}

TEST_F(DeviceReducer, HasTheBitsOfTheHostInSixteenBitsToo) {
  constexpr std::array kTypes{DType::float16, DType::bfloat16, DType::float32};
  constexpr std::size_t kCount = 3001;
  expect_ranks(3, [&](Communicator& communicator) {
    const compress::OwnStream stream;
    std::vector<std::vector<std::byte>> elements;
    elements.reserve(kTypes.size());
    for (const DType dtype : kTypes) elements.emplace_back(kCount * size_of(dtype));
    auto expected = elements;
    std::vector<DeviceCopy> copies;
    std::vector<NamedTensor> on_device;
    std::vector<NamedTensor> on_host;
    for (std::size_t i = 0; i < kTypes.size(); ++i) {
      const std::string name(to_string(kTypes[i]));
      copies.emplace_back(elements[i], stream.get());
      on_device.push_back({name, copies[i].tensor(0, kTypes[i]), stream.get()});
      on_host.push_back({name, Tensor(expected[i].data(), kCount, kTypes[i])});
    }
    Reducer reducer(communicator, on_device, {.codec = "onebit"});
    Reducer reference(communicator, on_host, {.codec = "onebit"});
    NormalFloats normal(static_cast<unsigned>(communicator.rank()));
    for (int step = 0; step < 3; ++step) {
      if (step == 2) reducer.measure_next_step();
      if (step == 2) reference.measure_next_step();
      std::vector<float> values(kCount);
      for (float& value : values) value = 0.3F + normal();
      for (std::size_t i = 0; i < kTypes.size(); ++i) {
        compress::from_float32(kTypes[i], values.data(), elements[i].data(), kCount);
        expected[i] = elements[i];
        compress::copy_on(stream.get(), copies[i].data(), elements[i].data(), elements[i].size());
      }
      reducer.wait();
      reference.wait();
      for (const DeviceCopy& copy : copies) copy.fetch(stream.get());
      stream.wait();
      ASSERT_TRUE(elements == expected) << "step " << step;
      ASSERT_EQ(reducer.save_state(), reference.save_state()) << "step " << step;
    }
    EXPECT_EQ(reducer.metrics().result_over_mean, reference.metrics().result_over_mean);
  });
}

TEST_F(DeviceReducer, KeepsResidualsOnTheDevice) {
  expect_ranks(2, [](Communicator& communicator) {
    PlacedGradients gradients(communicator.rank(), all_on(Device::cuda(0)));
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    run_steps(gradients, reducer, 0, 2);
    const auto residual = reducer.residual("weights");
    EXPECT_EQ(residual.size(), 40'000U);
    compress::require_device_memory(residual.data(), "the residual");
    EXPECT_TRUE(reducer.residual("bias").empty());
  });
}

TEST_F(DeviceReducer, MeasuresWhatTheHostMeasures) {
  expect_ranks(2, [](Communicator& communicator) {
    const auto measured = [&](Device device) {
      PlacedGradients gradients(communicator.rank(), all_on(device));
      Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
      run_steps(gradients, reducer, 0, 2);
      reducer.measure_next_step();
      run_steps(gradients, reducer, 2, 3);
      return reducer.metrics();
    };
    const ReducerMetrics on_host = measured(kHost);
    const ReducerMetrics on_device = measured(Device::cuda(0));
    EXPECT_GT(on_host.residual_over_gradient, 0.0);
    EXPECT_EQ(on_device.residual_over_gradient, on_host.residual_over_gradient);
    EXPECT_EQ(on_device.result_over_mean, on_host.result_over_mean);
    EXPECT_EQ(on_device.wire_bytes, on_host.wire_bytes);
  });
}

/// Gradients of one rank that leave a device where those of another don't are not in the same buckets.
TEST_F(DeviceReducer, PlacesThatChangeElsewhereAreAnOrderMismatch) {
  const auto errors = run_ranks(2, [](Communicator& communicator) {
    const Device device = Device::cuda(0);
    PlacedGradients gradients(communicator.rank(), communicator.rank() == 0 ? Places{device, device, kHost}
                                                                            : Places{device, kHost, kHost});
    Reducer reducer(communicator, gradients.tensors(), {.codec = "onebit"});
    run_steps(gradients, reducer, 0, 1);
  });
  for (const auto& error : errors) {
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), ErrorCode::order_mismatch) << error->what();
  }
}

void expect_refused(const NamedTensor& tensor, ErrorCode code, const char* words) {
  try {
    const Reducer reducer(Communicator(), {tensor}, {.codec = "onebit"});
    ADD_FAILURE() << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(words));
  }
}

TEST_F(DeviceReducer, RefusesMemoryAndStreamsOfOtherPlaces) {
  std::vector<float> host(2000);
  const auto memory = compress::allocate_device(8000);
  const auto at = [](void* data, Device device) { return Tensor(data, 2000, DType::float32, device); };
  expect_refused({"w", at(host.data(), Device::cuda(0))}, ErrorCode::invalid_argument, "tensor 'w'");
  expect_refused({"w", at(nullptr, Device::cuda(0))}, ErrorCode::invalid_argument, "tensor 'w' has 2000");
  expect_refused({"w", at(nullptr, kHost)}, ErrorCode::invalid_argument, "tensor 'w' has 2000");
  expect_refused({"w", at(memory.get(), Device::cuda(1000))}, ErrorCode::invalid_argument, "1000");
  if (!has_device(1)) GTEST_SKIP() << "the rest takes two devices";
  expect_refused({"w", at(memory.get(), Device::cuda(1))}, ErrorCode::invalid_argument, "tensor 'w'");
  const compress::UseDevice other(1);
  const compress::OwnStream stream;
  expect_refused({"w", at(memory.get(), Device::cuda(0)), stream.get()}, ErrorCode::invalid_argument,
                 "stream");
}

TEST(DeviceReducerWithoutCuda, SaysWhatTheBuildLacks) {
  if (compress::describe_device() != "left out of this build") GTEST_SKIP() << "this build has CUDA";
  std::vector<float> host(2000);
  expect_refused({"w", Tensor(host.data(), 2000, DType::float32, Device::cuda(0))}, ErrorCode::unsupported,
                 "GRADWIRE_WITH_CUDA");
}

}  // namespace
}  // namespace gradwire
