#include "base/checksum.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

namespace gradwire::base {
namespace {

std::uint32_t bit_by_bit(std::span<const std::byte> bytes) {
  std::uint32_t crc = ~0U;
  for (const std::byte b : bytes) {
    crc ^= static_cast<std::uint32_t>(b);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
  }
  return ~crc;
}

TEST(Checksum, KnownValue) {
  const std::string_view digits = "123456789";
  EXPECT_EQ(crc32c(std::as_bytes(std::span(digits))), 0xE3069283U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Checksum, MatchesDefinitionAtEveryLengthAndSplit) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes(300);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    const auto part = std::span<const std::byte>(bytes).first(size);
    ASSERT_EQ(crc32c(part), bit_by_bit(part)) << size;
    const std::size_t split = size / 3;
    ASSERT_EQ(crc32c(part.subspan(split), crc32c(part.first(split))), bit_by_bit(part)) << size;
  }
}

}  // namespace
}  // namespace gradwire::base
