// What goes wrong on devices, with two that are the host's (cuda_on_host/): kernels that nobody loaded,
// streams and memory of another device, devices that do not answer.

#include <cuda_runtime.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

#include "compress/cuda/device_codec.hpp"
#include "compress/cuda/device_convert.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class DeviceFaults : public testing::Test {
 protected:
  void TearDown() override {
    cudaSetDevice(0);
    cuda_on_host::world().refusals.clear();
  }

  static void refuse(const char* function, cudaError_t status) {
    cuda_on_host::world().refusals[function] = status;
  }

  static void expect_error(const std::function<void()>& body, ErrorCode code, const char* word) {
    try {
      body();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(word));
    }
  }

  static constexpr std::size_t kCount = 100;
  DeviceMemory values_ = allocate_device(kCount * sizeof(float));
  DeviceMemory others_ = allocate_device(kCount * sizeof(float));
  DeviceMemory payload_ = allocate_device(kCount * sizeof(float));
  DeviceMemory added_ = allocate_device(kCount * sizeof(float));
  NonFiniteFlag flag_;

  void SetUp() override {
    for (const DeviceMemory* memory : {&values_, &others_, &payload_, &added_}) {
      fill_on(nullptr, memory->get(), std::byte{0}, kCount * sizeof(float));
    }
  }

  /// All that a codec puts on a stream.
  std::vector<std::function<void()>> calls(const DeviceCodec& codec, Stream stream) {
    auto* const values = reinterpret_cast<float*>(values_.get());
    auto* const others = reinterpret_cast<float*>(others_.get());
    const Launch launch{stream, flag_.word()};
    const Encode plain{values, nullptr, nullptr, kCount, 1.0F};
    const Encode fed{values, others, others, kCount, 1.0F};
    return {[=, &codec, this] { codec.encode(plain, payload_.get(), launch); },
            [=, &codec, this] { codec.encode(fed, payload_.get(), launch); },
            [=, &codec, this] { codec.add_then_encode(added_.get(), 1.0F, fed, payload_.get(), launch); },
            [=, &codec, this] { codec.decode_assign(payload_.get(), others, kCount, stream); },
            [=, &codec, this] { codec.decode_add(payload_.get(), others, kCount, 1.0F, stream); },
            [=] { finish_sum_on_device(fed, values, false, launch); },
            [=] { finish_sum_on_device(fed, values, true, launch); }};
  }
};

TEST_F(DeviceFaults, ConversionsAreLoadedWhenTheyAreLaunched) {
  auto* const floats = reinterpret_cast<float*>(values_.get());
  const auto convert = [&](Stream stream) {
    for (const DType dtype : {DType::float16, DType::bfloat16}) {
      to_float32_on_device(dtype, payload_.get(), floats, kCount, stream);
      from_float32_on_device(dtype, floats, payload_.get(), kCount, {stream, flag_.word()});
    }
  };
  cuda_on_host::world().loaded.clear();
  expect_error([&] { convert(nullptr); }, ErrorCode::system, "could not start a kernel");
  load_conversion_kernels();
  EXPECT_NO_THROW(convert(nullptr));
  const OwnStream own;
  cudaSetDevice(1);
  load_conversion_kernels();
  expect_error([&] { convert(own.get()); }, ErrorCode::invalid_argument, "a stream of CUDA device 0");
}

constexpr const char* kSpecs[] = {"none", "fp16", "bf16", "onebit", "onebit:block=2048", "onebit:scale=l2"};

TEST_F(DeviceFaults, NoKernelIsLoadedWhenItIsLaunched) {
  for (const char* spec : kSpecs) {
    SCOPED_TRACE(spec);
    cuda_on_host::world().loaded.clear();
    const auto codec = make_device_codec(spec);
    for (const auto& call : calls(*codec, nullptr)) EXPECT_NO_THROW(call());

    cudaSetDevice(1);
    expect_error(calls(*codec, nullptr).back(), ErrorCode::system, "could not start a kernel");
    codec->load();
    for (const auto& call : calls(*codec, nullptr)) EXPECT_NO_THROW(call());
    cudaSetDevice(0);
  }
}

TEST_F(DeviceFaults, StreamsOfAnotherDeviceAreRefused) {
  cudaSetDevice(1);
  const OwnStream foreign;
  cudaSetDevice(0);
  const OwnStream own;
  for (const char* spec : kSpecs) {
    SCOPED_TRACE(spec);
    const auto codec = make_device_codec(spec);
    for (const auto& call : calls(*codec, foreign.get())) {
      expect_error(call, ErrorCode::invalid_argument, "a stream of CUDA device 1 was given where device 0");
    }
    for (const auto& call : calls(*codec, own.get())) EXPECT_NO_THROW(call());
  }
}

TEST_F(DeviceFaults, DriversThatCannotTellAStreamsDeviceAreBorneWith) {
  const OwnStream own;
  const auto codec = make_device_codec("none");
  refuse("cudaStreamGetDevice", cudaErrorCallRequiresNewerDriver);
  for (const auto& call : calls(*codec, own.get())) EXPECT_NO_THROW(call());
}

TEST_F(DeviceFaults, MemoryThatKernelsCannotUseIsRefused) {
  const auto refused = [](const void* pointer, const char* why) {
    expect_error([&] { require_device_memory(pointer, "tensor 'x'"); }, ErrorCode::invalid_argument, why);
  };
  EXPECT_NO_THROW(require_device_memory(values_.get(), "tensor 'x'"));
  EXPECT_NO_THROW(require_device_memory(values_.get() + kCount, "tensor 'x'"));
  void* managed = nullptr;
  cudaMallocManaged(&managed, 16);
  EXPECT_NO_THROW(require_device_memory(managed, "tensor 'x'"));
  cudaFree(managed);

  const float on_the_stack = 0;
  refused(&on_the_stack, "tensor 'x' is no memory that CUDA knows (the host's, or freed), and kernels need");
  auto memory = allocate_device(16);
  const void* freed = memory.get();
  memory.reset();
  refused(freed, "is no memory that CUDA knows");
  refused(nullptr, "tensor 'x' is");
  refused(allocate_pinned(16).get(), "is memory of the host, and kernels need it on CUDA device 0");
  cudaSetDevice(1);
  refused(values_.get(), "tensor 'x' is memory of CUDA device 0, and kernels need it on CUDA device 1");
  refused(values_.get(), "pass memory of CUDA device 1");
}

TEST_F(DeviceFaults, SickDevicesAreDescribed) {
  const std::string well = describe_device();
  EXPECT_THAT(well, HasSubstr("device 0 (the host)"));
  for (const char* function : {"cudaGetDeviceCount", "cudaGetDevice", "cudaDeviceGetAttribute"}) {
    SCOPED_TRACE(function);
    refuse(function, cudaErrorLaunchFailure);
    EXPECT_THAT(why_no_device(), Not(IsEmpty()));
    EXPECT_THAT(describe_device(), HasSubstr(why_no_device()));
    expect_error([] { require_device("a test"); }, ErrorCode::unsupported, "a test is not possible");
    cuda_on_host::world().refusals.clear();
  }
  refuse("cudaGetDeviceProperties", cudaErrorLaunchFailure);
  EXPECT_THAT(describe_device(),
              AllOf(HasSubstr("13.0; "), HasSubstr("could not ask for the device's name")));
}

TEST_F(DeviceFaults, EachRefusalHasItsAdvice) {
  const auto making = [] { make_device_codec("onebit"); };
  refuse("cudaFuncGetAttributes", cudaErrorDevicesUnavailable);
  expect_error(making, ErrorCode::system, "another process may hold the device");
  for (const cudaError_t status : {cudaErrorNoKernelImageForDevice, cudaErrorInvalidDeviceFunction}) {
    refuse("cudaFuncGetAttributes", status);
    expect_error(making, ErrorCode::unsupported, "CMAKE_CUDA_ARCHITECTURES");
  }
}

TEST_F(DeviceFaults, OnlyTimedEventsTakeTimes) {
  const TimedEvent begin;
  const TimedEvent end;
  EXPECT_GT(end.seconds_since(begin), 0);
  class Flags : public Event {
   public:
    [[nodiscard]] unsigned value() const { return get()->flags; }
  };
  EXPECT_EQ(Flags().value(), unsigned{cudaEventDisableTiming | cudaEventBlockingSync});
}

}  // namespace
}  // namespace gradwire::compress
