#include "transport/ucx/ucx_envelope.hpp"

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"

namespace gradwire::transport {

void write_envelope(const UcxEnvelope& envelope, std::span<std::byte, kEnvelopeBytes> out) noexcept {
  base::ByteWriter writer(out);
  writer.write(static_cast<std::uint32_t>(envelope.kind));
  writer.write(envelope.sender);
  writer.write(envelope.sender_token);
  writer.write(envelope.receiver_token);
  writer.write(envelope.number);
  writer.write(envelope.taken);
  writer.write(envelope.end);
}

std::optional<UcxEnvelope> read_envelope(std::span<const std::byte> bytes) noexcept {
  base::ByteReader reader(bytes);
  UcxEnvelope envelope;
  const auto kind = reader.read<std::uint32_t>();
  envelope.sender = reader.read<std::uint32_t>();
  envelope.sender_token = reader.read<std::uint64_t>();
  envelope.receiver_token = reader.read<std::uint64_t>();
  envelope.number = reader.read<std::uint64_t>();
  envelope.taken = reader.read<std::uint64_t>();
  envelope.end = reader.read<std::uint64_t>();
  const bool is_known = kind >= static_cast<std::uint32_t>(UcxKind::hello) &&
                        kind <= static_cast<std::uint32_t>(UcxKind::heard);
  if (!reader.ok() || !is_known) return std::nullopt;
  envelope.kind = static_cast<UcxKind>(kind);
  // Only a frame is followed by something.
  const std::size_t rest = envelope.kind == UcxKind::frame ? wire::kHeaderBytes : 0;
  if (reader.remaining() != rest) return std::nullopt;
  return envelope;
}

}  // namespace gradwire::transport
