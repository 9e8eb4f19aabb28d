#include "compress/cuda/emulated_device.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>

#include "compress/cuda/device_codec.hpp"
#include "gradwire/error.hpp"

namespace gradwire::compress {
namespace {

using emulated::StreamsStandStill;

std::byte read(const DeviceMemory& memory) { return *memory.get(); }

template <class Action>
ErrorCode code_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return {};
}

TEST(EmulatedDevice, NothingIsDoneUntilItsStreamIsLetRun) {
  const OwnStream stream;
  const Event reached;
  const DeviceMemory memory = allocate_device(64);
  EXPECT_TRUE(reached.reached()) << "nothing was recorded yet";
  {
    const StreamsStandStill still;
    fill_on(stream.get(), memory.get(), std::byte{7}, 64);
    reached.record(stream.get());
    EXPECT_NE(read(memory), std::byte{7});
    EXPECT_FALSE(reached.reached());
  }
  reached.wait();
  EXPECT_TRUE(reached.reached());
  EXPECT_EQ(read(memory), std::byte{7});
}

TEST(EmulatedDevice, AStreamKeepsOrder) {
  const OwnStream stream;
  const DeviceMemory a = allocate_device(64);
  const DeviceMemory b = allocate_device(64);
  for (unsigned round = 0; round < 100; ++round) {
    fill_on(stream.get(), a.get(), static_cast<std::byte>(round), 64);
    copy_on(stream.get(), b.get(), a.get(), 64);
    fill_on(stream.get(), a.get(), std::byte{200}, 64);
  }
  stream.wait();
  EXPECT_EQ(read(b), std::byte{99});
}

TEST(EmulatedDevice, AnEventHoldsAnotherStream) {
  const OwnStream first;
  const OwnStream second;
  const Event event;
  const DeviceMemory memory = allocate_device(64);
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 50; ++i) fill_on(first.get(), memory.get(), std::byte{1}, 64);
    event.record(first.get());
    event.hold(second.get());
    fill_on(second.get(), memory.get(), std::byte{2}, 64);
    second.wait();
    EXPECT_EQ(read(memory), std::byte{2});
    EXPECT_TRUE(event.reached());
  }
}

TEST(EmulatedDevice, AnEventThatIsGoneStillHolds) {
  const OwnStream first;
  const OwnStream second;
  const DeviceMemory memory = allocate_device(64);
  fill_on(first.get(), memory.get(), std::byte{1}, 64);
  {
    const Event event;
    event.record(first.get());
    event.hold(second.get());
  }
  fill_on(second.get(), memory.get(), std::byte{2}, 64);
  second.wait();
  EXPECT_EQ(read(memory), std::byte{2});
}

TEST(EmulatedDevice, TellsMemoryOfDevicesAndOfTheHostApart) {
  const DeviceMemory here = allocate_device(64);
  std::array<float, 4> host{};
  EXPECT_NO_THROW(require_device_memory(here.get() + 63, "a tensor"));
  EXPECT_EQ(code_of([&] { require_device_memory(host.data(), "a tensor"); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([&] { require_device_memory(here.get() + 64, "a tensor"); }), ErrorCode::invalid_argument)
      << "what follows may be the host's";
  const UseDevice other(1);
  EXPECT_EQ(code_of([&] { require_device_memory(here.get(), "a tensor"); }), ErrorCode::invalid_argument);
  EXPECT_NO_THROW(require_device_memory(allocate_device(1).get(), "a tensor"));
}

TEST(EmulatedDevice, HasTwoDevicesEachWithItsStreams) {
  const OwnStream here;
  const DeviceMemory memory = allocate_device(16);
  auto* values = reinterpret_cast<float*>(memory.get());
  EXPECT_EQ(code_of([] { const UseDevice none(2); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of([] { const UseDevice none(-1); }), ErrorCode::invalid_argument);
  const auto codec = make_device_codec("none");
  std::optional<UseDevice> other(std::in_place, 1);
  EXPECT_EQ(code_of([&] { codec->decode_assign(memory.get(), values, 4, here.get()); }),
            ErrorCode::invalid_argument);
  const Event event;
  EXPECT_EQ(code_of([&] { event.record(here.get()); }), ErrorCode::invalid_argument);
  EXPECT_NO_THROW(event.record(nullptr));
  other.reset();
  EXPECT_EQ(code_of([&] { event.record(nullptr); }), ErrorCode::invalid_argument);
  EXPECT_NO_THROW(event.hold(here.get()));
  here.wait();
}

TEST(EmulatedDevice, IsLeftCurrentOnAThreadThatAsksForIt) {
  std::thread thread([] {
    const Event of_first;
    { const UseDevice other(1); }
    EXPECT_NO_THROW(of_first.record(nullptr));
    UseDevice::leave_current_on_this_thread();
    { const UseDevice other(1); }
    EXPECT_EQ(code_of([&] { of_first.record(nullptr); }), ErrorCode::invalid_argument);
    EXPECT_NO_THROW(Event().record(nullptr));
  });
  thread.join();
}

TEST(EmulatedDevice, SaysNoOnceWhereEventsAreJustMissed) {
  const OwnStream stream;
  const Event event;
  {
    const emulated::EventsAreJustMissed missed;
    EXPECT_TRUE(event.reached()) << "it was never recorded";
    for (int round = 0; round < 3; ++round) {
      event.record(stream.get());
      EXPECT_FALSE(event.reached());
      EXPECT_TRUE(event.reached());
    }
  }
  event.record(stream.get());
  event.wait();
  EXPECT_TRUE(event.reached());
}

TEST(EmulatedDevice, KernelsTouchDeviceMemoryAlone) {
  const OwnStream stream;
  const DeviceMemory memory = allocate_device(16);
  auto* values = reinterpret_cast<float*>(memory.get());
  std::array<float, 4> host{};
  const auto codec = make_device_codec("none");
  const auto decode = [&](const std::byte* from, float* to, std::size_t count) {
    return code_of([&] { codec->decode_assign(from, to, count, stream.get()); });
  };
  EXPECT_EQ(decode(memory.get(), host.data(), 4), ErrorCode::invalid_argument);
  EXPECT_EQ(decode(reinterpret_cast<std::byte*>(host.data()), values, 4), ErrorCode::invalid_argument);
  EXPECT_EQ(decode(memory.get(), values, 5), ErrorCode::invalid_argument) << "one too many";
  EXPECT_EQ(code_of([&] { fill_on(stream.get(), memory.get() + 8, std::byte{}, 9); }),
            ErrorCode::invalid_argument);
  EXPECT_NO_THROW(copy_on(stream.get(), host.data(), memory.get(), 16));
  stream.wait();
}

}  // namespace
}  // namespace gradwire::compress
