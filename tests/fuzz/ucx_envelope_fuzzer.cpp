#include <algorithm>
#include <cstdlib>

#include "transport/ucx/ucx_envelope.hpp"

// Any bytes are no envelope, or are what writing the envelope they hold gives again, followed by a frame's
// header where there has to be one.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using gradwire::transport::kEnvelopeBytes;
  using gradwire::transport::UcxKind;
  const std::span<const std::byte> bytes{reinterpret_cast<const std::byte*>(data), size};
  const auto envelope = gradwire::transport::read_envelope(bytes);
  if (!envelope) return 0;
  const std::size_t rest = envelope->kind == UcxKind::frame ? gradwire::wire::kHeaderBytes : 0;
  if (size != kEnvelopeBytes + rest) std::abort();
  std::array<std::byte, kEnvelopeBytes> again;
  gradwire::transport::write_envelope(*envelope, again);
  if (!std::ranges::equal(again, bytes.first<kEnvelopeBytes>())) std::abort();
  return 0;
}
