#include <gtest/gtest.h>

#include <vector>

#include "transport/ucx/ucx_envelope.hpp"

namespace gradwire::transport {
namespace {

UcxEnvelope sample(UcxKind kind) {
  return {kind, 3, 0x0123456789ABCDEF, 0xFEDCBA9876543210, 17, 12, 0x1122334455667788};
}

std::vector<std::byte> bytes_of(const UcxEnvelope& envelope, std::size_t rest = 0) {
  std::vector<std::byte> bytes(kEnvelopeBytes + rest);
  write_envelope(envelope, std::span(bytes).first<kEnvelopeBytes>());
  return bytes;
}

TEST(UcxEnvelope, RoundTrip) {
  for (const auto kind : {UcxKind::hello, UcxKind::credit, UcxKind::end, UcxKind::heard}) {
    EXPECT_EQ(read_envelope(bytes_of(sample(kind))), sample(kind));
  }
  EXPECT_EQ(read_envelope(bytes_of(sample(UcxKind::frame), wire::kHeaderBytes)), sample(UcxKind::frame));
}

TEST(UcxEnvelope, LooksAsThePageSays) {
  const auto bytes = bytes_of(sample(UcxKind::frame));
  const std::vector<unsigned> expected{
      2,    0,    0,    0,    3,    0,    0,    0,    0xEF, 0xCD, 0xAB, 0x89, 0x67, 0x45, 0x23, 0x01,
      0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE, 17,   0,    0,    0,    0,    0,    0,    0,
      12,   0,    0,    0,    0,    0,    0,    0,    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
  ASSERT_EQ(bytes.size(), expected.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) EXPECT_EQ(std::to_integer<unsigned>(bytes[i]), expected[i]);
}

TEST(UcxEnvelope, AnyOtherLengthAndAnyOtherKindIsNone) {
  for (const auto kind : {UcxKind::hello, UcxKind::frame, UcxKind::end}) {
    const std::size_t right = kEnvelopeBytes + (kind == UcxKind::frame ? wire::kHeaderBytes : 0);
    for (std::size_t size = 0; size < 2 * kUcxHeadBytes; ++size) {
      auto bytes = bytes_of(sample(kind));
      bytes.resize(size);
      EXPECT_EQ(read_envelope(bytes).has_value(), size == right) << size;
    }
  }
  for (const std::uint32_t kind : {0U, 6U, 0x01000001U, 0xFFFFFFFFU}) {
    EXPECT_FALSE(read_envelope(bytes_of(sample(static_cast<UcxKind>(kind))))) << kind;
  }
}

}  // namespace
}  // namespace gradwire::transport
