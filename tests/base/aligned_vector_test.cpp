#include "base/aligned_vector.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace gradwire::base {
namespace {

TEST(AlignedVector, BeginsOnACacheLineWhateverItsSize) {
  for (const std::size_t count : {1U, 3U, 1000U, 2U << 20U, (2U << 20U) + 1U, 5'000'000U}) {
    const AlignedVector<float> values(count, 1.5F);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(values.data()) % 64, 0U) << count;
    EXPECT_EQ(values.back(), 1.5F);
  }
}

/// What the kernel notes of the mapping that `address` lies in; empty where it does not show it.
std::string mapping_flags(std::uintptr_t address) {
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2) {
      inside = begin <= address && address < end;
    } else if (inside && line.starts_with("VmFlags:")) {
      return line + " ";
    }
  }
  return {};
}

TEST(AlignedVector, AsksForHugePagesWhenItIsLarge) {
  const bool shown = std::filesystem::exists("/sys/kernel/mm/transparent_hugepage/enabled");
  for (const std::size_t count : {2U << 20U, (2U << 20U) + 1U, 5'000'000U}) {
    const AlignedVector<float> values(count);
    const auto address = reinterpret_cast<std::uintptr_t>(values.data());
    EXPECT_EQ(address % (2U << 20U), 0U) << count;
    const std::string flags = mapping_flags(address);
    if (shown && !flags.empty()) {
      EXPECT_THAT(flags, testing::HasSubstr(" hg ")) << count;
    }
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
