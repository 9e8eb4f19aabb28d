#include <algorithm>
#include <cstdlib>

#include "gradwire/error.hpp"
#include "wire/hello.hpp"

// Any bytes are refused with one of two codes, or are what writing the hello they hold gives again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gradwire;
  const std::span<const std::byte> bytes{reinterpret_cast<const std::byte*>(data), size};
  try {
    const auto announced = wire::hello_size(bytes, "a fuzzer");
    if (announced && (*announced < wire::kMinHelloBytes || *announced > wire::kMaxHelloBytes)) std::abort();
    const wire::Hello hello = wire::read_hello(bytes, "a fuzzer");
    const wire::HelloBytes again = wire::write_hello(hello);
    if (!std::ranges::equal(again.view(), bytes)) std::abort();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt_frame && error.code() != ErrorCode::version_mismatch) std::abort();
  }
  return 0;
}
