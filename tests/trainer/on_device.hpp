#pragma once

#include <gtest/gtest.h>

#include "gradwire/error.hpp"
#include "trainer/device/device_compute.hpp"

namespace gradwire::trainer {

/// Emulated devices compute what the host does. A GPU adds in another order.
#if defined(GRADWIRE_EMULATES_CUDA)
inline constexpr bool kSameBits = true;
#else
inline constexpr bool kSameBits = false;
#endif

class OnDevice : public testing::Test {
 protected:
  void SetUp() override {
    try {
      devices_ = usable_devices();
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }

  int devices_ = 0;
};

}  // namespace gradwire::trainer
