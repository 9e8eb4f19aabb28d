#include <algorithm>
#include <cstdlib>

#include "gradwire/error.hpp"
#include "wire/hello.hpp"

// Any bytes are refused with one of two codes, or are what writing the hello they hold gives again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes{reinterpret_cast<const std::byte*>(data), size};
  try {
    const auto announced = gradwire::wire::hello_size(bytes, "a fuzzer");
    if (announced &&
        (*announced < gradwire::wire::kMinHelloBytes || *announced > gradwire::wire::kMaxHelloBytes))
      std::abort();
    const gradwire::wire::Hello hello = gradwire::wire::read_hello(bytes, "a fuzzer");
    const gradwire::wire::HelloBytes again = gradwire::wire::write_hello(hello);
    if (!std::ranges::equal(again.view(), bytes)) std::abort();
  } catch (const gradwire::Error& error) {
    if (error.code() != gradwire::ErrorCode::corrupt_frame &&
        error.code() != gradwire::ErrorCode::version_mismatch)
      std::abort();
  }
  return 0;
}
