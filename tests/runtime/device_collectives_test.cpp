#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "compress/convert.hpp"
#include "compress/cuda/device.hpp"
#include "gradwire/communicator.hpp"
#include "local_world.hpp"
#include "tests/support/device_copy.hpp"
#include "tests/support/has_device.hpp"
#include "tests/support/normal_floats.hpp"
#include "tests/support/quick.hpp"

// Every collective of a Communicator, with every codec and type of element, on devices beside the host.

namespace gradwire {
namespace {

using Range = std::pair<std::size_t, std::size_t>;

struct Call {
  const char* name;
  std::function<Range(Communicator&, const Tensor&, OperationOptions, std::span<float>)> run;
};

const std::vector<Call>& every_call() {
  static const std::vector<Call> calls{
      {"allreduce",
       [](Communicator& all, const Tensor& tensor, const OperationOptions& options,
          std::span<float> residual) {
         all.allreduce(tensor, options, residual);
         return Range{0, tensor.count};
       }},
      {"reduce_scatter",
       [](Communicator& all, const Tensor& tensor, const OperationOptions& options,
          std::span<float> residual) { return all.reduce_scatter(tensor, options, residual); }},
      {"allgather",
       [](Communicator& all, const Tensor& tensor, const OperationOptions& options,
          std::span<float> residual) {
         all.allgather(tensor, options, residual);
         return Range{0, tensor.count};
       }},
      {"broadcast",
       [](Communicator& all, const Tensor& tensor, OperationOptions options, std::span<float> residual) {
         options.root = all.world_size() / 2;
         all.broadcast(tensor, options, residual);
         return Range{0, tensor.count};
       }},
  };
  return calls;
}

/// What a collective leaves on a rank, where it promises something.
struct Outcome {
  std::vector<std::byte> elements;
  std::vector<float> residual;
};

constexpr std::size_t kCount = 5003;

/// Two calls, of which the second finds an operation that the first has left.
Outcome run_twice(Communicator& communicator, const Call& call, Device device, DType dtype,
                  OperationOptions options) {
  NormalFloats normal(static_cast<unsigned>(communicator.rank()));
  std::vector<float> values(kCount);
  Outcome outcome{std::vector<std::byte>(kCount * size_of(dtype)), std::vector<float>(kCount)};
  for (float& value : values) value = 0.3F + normal();
  for (float& value : outcome.residual) value = 0.03F + 0.1F * normal();
  compress::from_float32(dtype, values.data(), outcome.elements.data(), kCount);

  // What a reduce_scatter leaves in others' parts is unspecified: each call begins with the same elements.
  const std::vector<std::byte> input = outcome.elements;
  Range range;
  if (device.is_host()) {
    for (int i = 0; i < 2; ++i) {
      outcome.elements.assign(input.begin(), input.end());
      range = call.run(communicator, {outcome.elements.data(), kCount, dtype}, options, outcome.residual);
    }
  } else {
    const compress::UseDevice here(device.number());
    const compress::OwnStream stream;
    options.stream = stream.get();
    const DeviceCopy tensor(outcome.elements, stream.get());
    const DeviceCopy residual(outcome.residual, stream.get());
    for (int i = 0; i < 2; ++i) {
      compress::copy_on(stream.get(), tensor.data(), input.data(), input.size());
      range = call.run(communicator, tensor.tensor(device.number(), dtype), options, residual.span());
    }
    tensor.fetch(stream.get());
    residual.fetch(stream.get());
    stream.wait();
  }
  const auto at = [&](std::size_t i) {
    return outcome.elements.begin() + static_cast<std::ptrdiff_t>(i * size_of(dtype));
  };
  return {{at(range.first), at(range.second)}, std::move(outcome.residual)};
}

class DeviceCollectives : public ::testing::TestWithParam<std::tuple<const char*, DType>> {
 protected:
  void SetUp() override {
    if (const std::string reason = compress::why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_P(DeviceCollectives, ComeOutAsOnTheHost) {
  const auto& [transport, dtype] = GetParam();
  const Device second = Device::cuda(has_device(1) ? 1 : 0);
  const std::array places{Device::cuda(0), second, Device()};
  std::size_t turn = 0;
  for (const char* codec : {"none", "fp16", "bf16", "onebit", "onebit:block=64,scale=l1"}) {
    for (int ranks = 1; ranks <= 5; ranks += quick() ? 2 : 1) {
      SCOPED_TRACE(std::string(codec) + ", " + std::to_string(ranks) + " ranks");
      ++turn;
      expect_ranks(
          ranks,
          [&, type = dtype](Communicator& communicator) {
            for (const Call& call : every_call()) {
              const OperationOptions options{.codec = codec, .average = turn % 2 == 0};
              const Device place = places[(turn + static_cast<std::size_t>(communicator.rank())) % 3];
              const Outcome expected = run_twice(communicator, call, Device(), type, options);
              const Outcome outcome = run_twice(communicator, call, place, type, options);
              EXPECT_TRUE(outcome.elements == expected.elements)
                  << call.name << " on rank " << communicator.rank();
              EXPECT_TRUE(outcome.residual == expected.residual)
                  << call.name << ", residual of rank " << communicator.rank();
            }
          },
          [name = transport](CommunicatorOptions& all) { all.transport = name; });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, DeviceCollectives,
                         ::testing::Combine(::testing::Values("inproc", "shm"),
                                            ::testing::Values(DType::float32, DType::bfloat16,
                                                              DType::float16)),
                         [](const auto& tested) {
                           return std::string(std::get<0>(tested.param)) + "_" +
                                  std::string(to_string(std::get<1>(tested.param)));
                         });

}  // namespace
}  // namespace gradwire
