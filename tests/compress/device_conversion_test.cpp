// The conversions of 16-bit tensors on a device against the scalar ones, to the bit. Built as often as
// device_agreement_test.cpp is, and once more for emulated devices, for what comes before the kernels.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <memory>

#include "compress/cuda/device_convert.hpp"
#include "compress/float_bits.hpp"
#include "compress/half_kernels.hpp"
#include "gradwire/error.hpp"
#include "on_device_memory.hpp"

namespace gradwire::compress {
namespace {

/// How far the arrays lie beyond multiples of 64 bytes: floats, bytes.
struct Shifts {
  std::size_t floats = 0;
  std::size_t halves = 0;
};
constexpr std::array<Shifts, 5> kShifts{{{0, 0}, {1, 2}, {3, 6}, {0, 1}, {2, 2}}};

class DeviceConversion : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
    stream_ = std::make_unique<OwnStream>();
    flag_ = std::make_unique<NonFiniteFlag>();
    load_conversion_kernels();
  }

  static const HalfKernels& scalar() {
    return half_scalar_kernels(GetParam() == DType::float16 ? HalfFormat::fp16 : HalfFormat::bf16);
  }

  void compare_widening(const Bytes& halves, const Shifts& shifts) {
    const std::size_t count = halves.size() / 2;
    Floats expected(count, -7.0F);
    OnDevice out(*stream_, expected, shifts.floats);
    OnDevice in(*stream_, halves.data(), halves.size(), shifts.halves);
    scalar().decode_assign(halves.data(), expected.data(), count);
    to_float32_on_device(GetParam(), in.bytes(), out.floats(), count, stream_->get());
    ASSERT_EQ(patterns(out.fetch_floats()), patterns(expected)) << "count " << count;
    EXPECT_EQ(in.fetch(), halves) << "the input changed";
  }

  void compare_narrowing(const Floats& values, const Shifts& shifts) {
    const std::size_t count = values.size();
    Bytes expected(2 * count, kGuard);
    OnDevice out(*stream_, expected.data(), expected.size(), shifts.halves);
    OnDevice in(*stream_, values, shifts.floats);
    const bool fits = scalar().narrow(values.data(), expected.data(), count);
    flag_->clear_on(stream_->get());
    from_float32_on_device(GetParam(), in.floats(), out.bytes(), count, {stream_->get(), flag_->word()});
    flag_->fetch_on(stream_->get());
    ASSERT_EQ(out.fetch(), expected) << "count " << count;
    EXPECT_EQ(patterns(in.fetch_floats()), patterns(values)) << "the input changed";
    ASSERT_EQ(!flag_->raised(), fits) << "count " << count;
  }

  std::unique_ptr<OwnStream> stream_;
  std::unique_ptr<NonFiniteFlag> flag_;
};

TEST_P(DeviceConversion, WidensEveryPattern) {
  Bytes halves(2 * 65536);
  for (std::size_t half = 0; half < 65536; ++half) {
    store_u16(&halves[2 * half], static_cast<std::uint16_t>(half));
  }
  for (const Shifts& shifts : kShifts) {
    compare_widening(halves, shifts);
    if (HasFatalFailure()) return;
  }
}

TEST_P(DeviceConversion, EveryLengthAndAlignment) {
  for (const std::size_t count : {0, 1, 2, 3, 4, 5, 7, 8, 63, 1023, 1024, 1025, 4099, 10000}) {
    const auto seed = static_cast<unsigned>(count);
    for (const Shifts& shifts : kShifts) {
      Bytes halves(2 * count);
      const Floats values = wild(count, seed, 1e5F);
      scalar().narrow(values.data(), halves.data(), count);
      compare_widening(halves, shifts);
      compare_narrowing(values, shifts);
      compare_narrowing(normal_floats(count, seed), shifts);
      if (HasFatalFailure()) return;
    }
  }
}

/// The largest value that stays finite, the next one, and what was not finite before.
TEST_P(DeviceConversion, RaisesTheFlagWhereFiniteBecomesInfinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float largest = GetParam() == DType::float16 ? std::nextafter(65520.0F, 0.0F)
                                                     : std::bit_cast<float>(std::uint32_t{0x7F7F7FFFU});
  constexpr std::size_t kCount = 1030;
  for (const float value : {largest, -largest, std::nextafter(largest, infinity),
                            -std::numeric_limits<float>::max(), infinity, -infinity, std::nanf("5")}) {
    for (const std::size_t at : {std::size_t{0}, std::size_t{511}, kCount - 1}) {
      for (const Shifts& shifts : kShifts) {
        Floats values = normal_floats(kCount, 1);
        values[at] = value;
        compare_narrowing(values, shifts);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(DeviceConversion, WantsAFlag) {
  OnDevice floats(*stream_, Floats(10, 1.0F), 0);
  EXPECT_THROW(
      from_float32_on_device(GetParam(), floats.floats(), floats.bytes() + 40, 2, {stream_->get(), nullptr}),
      Error);
}

INSTANTIATE_TEST_SUITE_P(Types, DeviceConversion, testing::Values(DType::float16, DType::bfloat16),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

TEST(DeviceConversionOfFloat32, Copies) {
  if (const std::string reason = why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
  const OwnStream stream;
  const Floats values = wild(33, 1);
  OnDevice from(stream, values, 0);
  OnDevice through(stream, Floats(33), 0);
  OnDevice to(stream, Floats(33), 1);
  to_float32_on_device(DType::float32, from.bytes(), through.floats(), 33, stream.get());
  from_float32_on_device(DType::float32, through.floats(), to.bytes(), 33, {stream.get(), nullptr});
  EXPECT_EQ(patterns(to.fetch_floats()), patterns(values));
}

}  // namespace
}  // namespace gradwire::compress
