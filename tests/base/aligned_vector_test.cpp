#include "base/aligned_vector.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

namespace gradwire::base {
namespace {

TEST(AlignedVector, BeginsOnACacheLineWhateverItsSize) {
  for (const std::size_t count : {1U, 3U, 1000U, 2U << 20U, (2U << 20U) + 1U, 5'000'000U}) {
    const AlignedVector<float> values(count, 1.5F);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(values.data()) % 64, 0U) << count;
    EXPECT_EQ(values.back(), 1.5F);
  }
}

TEST(AlignedVector, GrowsFromASmallBlockIntoALargeOne) {
  AlignedVector<float> values(10, 2.0F);
  values.resize(3'000'000, 3.0F);
  EXPECT_EQ(values[9], 2.0F);
  EXPECT_EQ(values[10], 3.0F);
  values.resize(5);
  values.shrink_to_fit();
  EXPECT_THAT(values, testing::Each(2.0F));
}

}  // namespace
}  // namespace gradwire::base
