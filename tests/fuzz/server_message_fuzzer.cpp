#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "gradwire/error.hpp"
#include "server/messages.hpp"

// Any bytes are refused as corrupt, as a request and as an answer, or are what writing the message they hold
// gives again.

namespace {

void check(std::span<const std::byte> bytes, auto read, auto write) {
  try {
    const gradwire::server::Head again = write(read(bytes, "a fuzzer"));
    if (!std::ranges::equal(again.bytes, bytes)) std::abort();
  } catch (const gradwire::Error& error) {
    if (error.code() != gradwire::ErrorCode::corrupt_frame) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes{reinterpret_cast<const std::byte*>(data), size};
  check(bytes, gradwire::server::read_request, gradwire::server::write_request);
  check(bytes, gradwire::server::read_answer, gradwire::server::write_answer);
  return 0;
}
