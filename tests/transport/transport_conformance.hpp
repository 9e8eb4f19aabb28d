#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>

#include "mesh.hpp"

namespace gradwire::transport {

/// The suite of transport_conformance_test.cpp and link_ends_conformance_test.cpp. A program names the
/// transports that it is for.
class Conformance : public FlavorTest {};

inline void expect_frame(const Received& received, int from, int to, std::uint64_t number, std::size_t size) {
  wire::Header got = received.header;
  wire::Header sent = header_for(from, to, number);
  ASSERT_EQ(got.payload_bytes, size);
  got.payload_bytes = 0;
  got.payload_crc = 0;
  got.flags = static_cast<std::uint16_t>(got.flags & ~wire::kFlagPayloadCrc);
  ASSERT_EQ(got, sent) << "frame " << number << " from " << from;
  ASSERT_EQ(received.payload, payload_for(from, to, number, size)) << "frame " << number << " from " << from;
}

}  // namespace gradwire::transport
