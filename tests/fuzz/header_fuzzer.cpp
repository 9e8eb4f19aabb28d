#include <cstdlib>
#include <cstring>

#include "gradwire/error.hpp"
#include "wire/header.hpp"

// Any 64 bytes are refused with one of two codes, or are what writing the header they hold gives again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < gradwire::wire::kHeaderBytes) return 0;
  gradwire::wire::HeaderBytes bytes;
  std::memcpy(bytes.data(), data, bytes.size());
  try {
    const gradwire::wire::Header header = gradwire::wire::read_header(bytes, 1);
    if (header.payload_bytes > gradwire::wire::kMaxPayload) std::abort();
    gradwire::wire::HeaderBytes again;
    gradwire::wire::write_header(header, again);
    if (again != bytes) std::abort();
  } catch (const gradwire::Error& error) {
    if (error.code() != gradwire::ErrorCode::corrupt_frame &&
        error.code() != gradwire::ErrorCode::version_mismatch)
      std::abort();
    if (error.peer() != 1) std::abort();
  }

  // Random bytes hardly ever carry a right checksum: the same fields, written by us, must come back whole or
  // be refused.
  gradwire::wire::Header header;
  std::memcpy(&header.communicator, data, 4);
  std::memcpy(&header.operation, data + 4, 4);
  std::memcpy(&header.order_hash, data + 8, 8);
  std::memcpy(&header.chunk, data + 16, 4);
  std::memcpy(&header.segment, data + 20, 4);
  std::memcpy(&header.sender, data + 24, 4);
  std::memcpy(&header.count, data + 28, 4);
  std::memcpy(&header.payload_bytes, data + 32, 4);
  std::memcpy(&header.payload_crc, data + 36, 4);
  std::memcpy(&header.flags, data + 40, 2);
  std::memcpy(&header.layer, data + 42, 2);
  header.kind = static_cast<gradwire::wire::FrameKind>(data[44]);
  header.codec = data[45];
  header.dtype = data[46];
  gradwire::wire::write_header(header, bytes);
  try {
    if (gradwire::wire::read_header(bytes, 1) != header) std::abort();
  } catch (const gradwire::Error& error) {
    if (error.code() != gradwire::ErrorCode::corrupt_frame) std::abort();
  }
  return 0;
}
