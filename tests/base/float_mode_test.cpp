#include "base/float_mode.hpp"

#include <gtest/gtest.h>

#include <cfenv>
#include <limits>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace gradwire::base {
namespace {

TEST(FloatMode, RoundsToNearestAndGivesTheCallersModeBack) {
  volatile float one = 1.0F;
  volatile float quarter_ulp = std::numeric_limits<float>::epsilon() / 4;
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  EXPECT_GT(one + quarter_ulp, 1.0F);
  {
    const FloatMode mode;
    EXPECT_EQ(one + quarter_ulp, 1.0F);
  }
  EXPECT_GT(one + quarter_ulp, 1.0F);
  std::fesetround(FE_TONEAREST);
}

#if defined(__SSE2__)
TEST(FloatMode, KeepsSubnormals) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040U);  // FTZ and DAZ
  volatile float smallest = std::numeric_limits<float>::min();
  volatile float half = 0.5F;
  EXPECT_EQ(smallest * half, 0.0F);
  {
    const FloatMode mode;
    EXPECT_GT(smallest * half, 0.0F);
  }
  EXPECT_EQ(smallest * half, 0.0F);
  _mm_setcsr(before);
}
#endif

}  // namespace
}  // namespace gradwire::base
