#include <gtest/gtest.h>

#include <array>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"

namespace gradwire::base {
namespace {

TEST(ByteIo, RoundTripIsLittleEndian) {
  std::array<std::byte, 32> buffer{};
  ByteWriter writer(buffer);
  writer.write(std::uint8_t{0xAB});
  writer.write(std::uint16_t{0x0123});
  writer.write(std::uint32_t{0x89ABCDEF});
  writer.write(std::uint64_t{0x0102030405060708});
  writer.short_text("rank");
  ASSERT_TRUE(writer.ok());
  ASSERT_EQ(writer.written().size(), 1U + 2 + 4 + 8 + 2 + 4);
  EXPECT_EQ(buffer[1], std::byte{0x23});
  EXPECT_EQ(buffer[7], std::byte{0x08});

  ByteReader reader(writer.written());
  EXPECT_EQ(reader.read<std::uint8_t>(), 0xAB);
  EXPECT_EQ(reader.read<std::uint16_t>(), 0x0123);
  EXPECT_EQ(reader.read<std::uint32_t>(), 0x89ABCDEFU);
  EXPECT_EQ(reader.read<std::uint64_t>(), 0x0102030405060708U);
  EXPECT_EQ(reader.short_text(), "rank");
  EXPECT_EQ(reader.remaining(), 0U);
  EXPECT_TRUE(reader.ok());
}

TEST(ByteIo, ReaderStopsAtTheEnd) {
  const std::array<std::byte, 3> three{std::byte{1}, std::byte{2}, std::byte{3}};
  ByteReader reader(three);
  EXPECT_EQ(reader.read<std::uint32_t>(), 0U);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.read<std::uint8_t>(), 0U) << "a failed reader stays failed";
  EXPECT_EQ(reader.remaining(), 0U);
}

TEST(ByteIo, ReaderRefusesTextLongerThanItsBytes) {
  const std::array<std::byte, 4> bytes{std::byte{200}, std::byte{0}, std::byte{'a'}, std::byte{'b'}};
  ByteReader reader(bytes);
  EXPECT_EQ(reader.short_text(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(ByteIo, WriterStopsAtTheEnd) {
  std::array<std::byte, 6> buffer{};
  ByteWriter writer(std::span<std::byte>(buffer).first(5));
  writer.write(std::uint32_t{0xFFFFFFFF});
  writer.write(std::uint16_t{0xFFFF});
  EXPECT_FALSE(writer.ok());
  EXPECT_EQ(writer.written().size(), 4U);
  EXPECT_EQ(buffer[4], std::byte{0});
  EXPECT_EQ(buffer[5], std::byte{0});
  writer.write(std::uint8_t{1});
  EXPECT_EQ(writer.written().size(), 4U) << "nothing may follow what did not fit";
}

}  // namespace
}  // namespace gradwire::base
