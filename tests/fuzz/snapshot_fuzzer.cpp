#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/checksum.hpp"
#include "gradwire/error.hpp"
#include "server/server_state.hpp"
#include "server/snapshot.hpp"

// Any file is refused with one of two codes, or its state is all that follows its header. Random bytes never
// fit a checksum, so each input is read as it is, with its checksums made right, and as the state of a file
// that is right otherwise. A server refuses that state, or saves the same again once it has taken it.

namespace {

constexpr std::size_t kHeaderBytes = 48;
constexpr std::size_t kStateCrcOffset = 40;
constexpr std::size_t kHeaderCrcOffset = 44;

using Bytes = std::vector<std::byte>;

/// Whether it was taken for a snapshot of server 0.
bool parse(const Bytes& file) {
  try {
    const auto snapshot = gradwire::server::parse_snapshot(file, 0, "a fuzzed file");
    if (!std::ranges::equal(snapshot.bytes, std::span(file).subspan(kHeaderBytes))) std::abort();
    return true;
  } catch (const gradwire::Error& error) {
    if (error.code() != gradwire::ErrorCode::corrupt_frame &&
        error.code() != gradwire::ErrorCode::version_mismatch)
      std::abort();
    return false;
  }
}

void restore(const Bytes& bytes) {
  using gradwire::ErrorCode;
  using gradwire::server::ServerState;
  ServerState state({.incarnation = 1});
  try {
    state.restore(bytes, "a fuzzed file", {});
  } catch (const gradwire::Error& error) {
    if (error.code() != ErrorCode::corrupt_frame && error.code() != ErrorCode::version_mismatch &&
        error.code() != ErrorCode::invalid_argument && error.code() != ErrorCode::unsupported)
      std::abort();
    return;
  }
  const auto saved = state.save();
  ServerState again({.incarnation = 1});
  again.restore(saved, "what was saved of it", {});
  if (again.save().size() != saved.size()) std::abort();
}

void fit_checksums(Bytes& file) {
  const std::span<std::byte> all(file);
  const std::uint32_t state = gradwire::base::crc32c(all.subspan(kHeaderBytes));
  std::memcpy(file.data() + kStateCrcOffset, &state, sizeof(state));
  const std::uint32_t header = gradwire::base::crc32c(all.first(kHeaderCrcOffset));
  std::memcpy(file.data() + kHeaderCrcOffset, &header, sizeof(header));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes file(size);
  if (size > 0) std::memcpy(file.data(), data, size);
  parse(file);
  if (size >= kHeaderBytes) {
    fit_checksums(file);
    parse(file);
  }

  Bytes right(kHeaderBytes + size);
  std::memcpy(right.data(), "GWSERVER\1", 9);
  const std::uint64_t length = size;
  std::memcpy(right.data() + 32, &length, sizeof(length));
  if (size > 0) std::memcpy(right.data() + kHeaderBytes, data, size);
  fit_checksums(right);
  if (!parse(right)) std::abort();
  restore(Bytes(right.begin() + kHeaderBytes, right.end()));
  return 0;
}
