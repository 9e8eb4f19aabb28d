#include "wire/header.hpp"

#include <gtest/gtest.h>

#include <random>

#include "gradwire/error.hpp"

namespace gradwire::wire {
namespace {

constexpr int kPeer = 3;

Header random_header(std::mt19937_64& random) {
  Header header;
  header.kind = static_cast<FrameKind>(1 + random() % 4);
  header.codec = static_cast<std::uint8_t>(random());
  header.dtype = static_cast<std::uint8_t>(random() % 3);
  header.flags = static_cast<std::uint16_t>(random() % 4);
  header.layer = static_cast<std::uint16_t>(random());
  header.communicator = static_cast<std::uint32_t>(random());
  header.operation = static_cast<std::uint32_t>(random());
  header.order_hash = random();
  header.chunk = static_cast<std::uint32_t>(random());
  header.segment = static_cast<std::uint32_t>(random());
  header.sender = static_cast<std::uint32_t>(random());
  header.count = static_cast<std::uint32_t>(random());
  if (carries_payload(header.kind)) {
    header.payload_bytes = static_cast<std::uint32_t>(random() % (kMaxPayload + 1));
  }
  if ((header.flags & kFlagPayloadCrc) != 0) header.payload_crc = static_cast<std::uint32_t>(random());
  return header;
}

TEST(Header, RoundTrip) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    const Header header = random_header(random);
    HeaderBytes bytes;
    write_header(header, bytes);
    EXPECT_EQ(read_header(bytes, kPeer), header);
  }
}

TEST(Header, AnyFlippedBitIsAnError) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20; ++i) {
    HeaderBytes bytes;
    write_header(random_header(random), bytes);
    for (std::size_t bit = 0; bit < 8 * kHeaderBytes; ++bit) {
      bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      try {
        (void)read_header(bytes, kPeer);
        FAIL() << "bit " << bit << " went unnoticed";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::corrupt_frame);
        EXPECT_EQ(error.peer(), kPeer);
      }
      bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    }
  }
}

TEST(Header, AnyChangedByteIsAnError) {
  std::mt19937_64 random(3);
  HeaderBytes bytes;
  write_header(random_header(random), bytes);
  for (std::size_t at = 0; at < kHeaderBytes; ++at) {
    for (unsigned change = 1; change < 256; ++change) {
      HeaderBytes damaged = bytes;
      damaged[at] ^= static_cast<std::byte>(change);
      EXPECT_THROW((void)read_header(damaged, kPeer), Error) << at << ' ' << change;
    }
  }
}

TEST(Header, NoiseIsAnError) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 10000; ++i) {
    HeaderBytes bytes;
    for (auto& b : bytes) b = static_cast<std::byte>(random());
    EXPECT_THROW((void)read_header(bytes, kPeer), Error);
  }
}

}  // namespace
}  // namespace gradwire::wire
