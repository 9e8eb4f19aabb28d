#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "gradwire/error.hpp"
#include "trainer/checkpoint.hpp"

namespace {

using gradwire::trainer::parse_checkpoint;
using gradwire::trainer::serialize_checkpoint;

/// Refused, or as long as what it holds, and what it holds can be written and read again.
void parse(std::string_view bytes) {
  try {
    const auto checkpoint = parse_checkpoint(bytes, "fuzzed");
    if (checkpoint.weights.size() != checkpoint.velocity.size()) std::abort();
    const std::string written = serialize_checkpoint(checkpoint);
    if (serialize_checkpoint(parse_checkpoint(written, "written")) != written) std::abort();
  } catch (const gradwire::Error& error) {
    if (error.code() != gradwire::ErrorCode::invalid_argument &&
        error.code() != gradwire::ErrorCode::version_mismatch)
      std::abort();
  }
}

void append(std::string& bytes, std::uint64_t value, std::size_t count) {
  bytes.append(reinterpret_cast<const char*>(&value), count);
}

/// Sizes and a checksum that fit, which chance would not find: the beginning becomes arenas and state, the
/// rest JSON.
std::string with_valid_frame(std::string_view data) {
  constexpr std::size_t kFloats = 4;
  constexpr std::size_t kState = 8;
  constexpr std::size_t kTail = 2 * kFloats * sizeof(float) + kState;
  if (data.size() < kTail) return std::string(data);
  std::string bytes = "GWTRAIN\n";
  append(bytes, 1, 4);
  append(bytes, data.size() - kTail, 4);
  append(bytes, kFloats, 8);
  append(bytes, kState, 8);
  bytes.append(data.substr(kTail));
  bytes.append(data.substr(0, kTail));
  append(bytes, crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()), 4);
  return bytes;
}

/// A checkpoint with some bytes changed: each three of `data` are a place and what to put there.
std::string with_edits(std::string_view data) {
  gradwire::trainer::Checkpoint checkpoint;
  checkpoint.data = "mnist";
  checkpoint.widths = {4, 3, 2};
  checkpoint.weights = {1, 2, 3};
  checkpoint.velocity = {4, 5, 6};
  checkpoint.reducer_state = "state";
  std::string bytes = serialize_checkpoint(checkpoint);
  bytes.resize(bytes.size() - 4);
  for (; data.size() >= 3; data.remove_prefix(3)) {
    const auto place = static_cast<unsigned char>(data[0]) * 256U + static_cast<unsigned char>(data[1]);
    bytes[place % bytes.size()] = data[2];
  }
  append(bytes, crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()), 4);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  parse(bytes);
  parse(with_valid_frame(bytes));
  parse(with_edits(bytes));
  return 0;
}
