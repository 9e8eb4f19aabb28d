#include "transport/address_record.hpp"

#include <fmt/format.h>

#include <limits>
#include <vector>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/checksum.hpp"

namespace gradwire::transport {
namespace {

constexpr std::uint32_t kRecordMagic = 0x31415747;  // "GWA1" in memory
constexpr std::size_t kMaxRecordBytes =
    2048;  // without the address for UCX, which tells all networks of a host
constexpr std::size_t kCrcBytes = 4;

}  // namespace

std::string write_record(const AddressRecord& record) {
  if (record.ucx_address.size() > std::numeric_limits<std::uint16_t>::max()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("UCX has an address of {} bytes here", record.ucx_address.size()),
                "let UCX_NET_DEVICES and UCX_TLS name fewer networks");
  }
  std::vector<std::byte> buffer(kMaxRecordBytes + record.ucx_address.size());
  base::ByteWriter writer(buffer);
  writer.write(kRecordMagic);
  writer.write(wire::kVersion);
  writer.write(record.world_size);
  writer.write(record.connections);
  writer.write(record.token);
  writer.short_text(record.host);
  writer.short_text(record.group);
  writer.short_text(record.unix_name);
  writer.short_text(record.tcp_host);
  writer.write(record.tcp_port);
  writer.short_text(record.process);
  writer.short_text(record.ucx_version);
  writer.short_text(record.ucx_address);
  writer.write(base::crc32c(writer.written()));
  if (!writer.ok()) {
    throw Error(ErrorCode::invalid_argument, fmt::format("a host id of {} bytes", record.group.size()),
                "choose a shorter one");
  }
  return {reinterpret_cast<const char*>(writer.written().data()), writer.written().size()};
}

AddressRecord read_record(const std::string& bytes, int rank, const EndpointOptions& options) {
  const auto raw = std::as_bytes(std::span(bytes));
  base::ByteReader reader(raw);
  const auto magic = reader.read<std::uint32_t>();
  const auto version = reader.read<std::uint8_t>();
  if (reader.ok() && magic == kRecordMagic && version != wire::kVersion) {
    throw Error(ErrorCode::version_mismatch,
                fmt::format("rank {} speaks version {} of the protocol, this rank version {}", rank, version,
                            wire::kVersion),
                "install the same gradwire on all hosts", rank);
  }
  AddressRecord record;
  record.world_size = reader.read<std::uint32_t>();
  record.connections = reader.read<std::uint16_t>();
  record.token = reader.read<std::uint64_t>();
  record.host = reader.short_text();
  record.group = reader.short_text();
  record.unix_name = reader.short_text();
  record.tcp_host = reader.short_text();
  record.tcp_port = reader.read<std::uint16_t>();
  record.process = reader.short_text();
  record.ucx_version = reader.short_text();
  record.ucx_address = reader.short_text();
  const auto crc = reader.read<std::uint32_t>();
  if (magic != kRecordMagic || !reader.ok() || reader.remaining() != 0 ||
      crc != base::crc32c(raw.first(raw.size() - kCrcBytes))) {
    throw Error(ErrorCode::corrupt_frame, fmt::format("the store holds no valid address of rank {}", rank),
                "give this job a store of its own", rank);
  }
  if (record.world_size != static_cast<std::uint32_t>(options.world_size)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("rank {} says that the job has {} ranks, rank {} says {}", rank,
                            record.world_size, options.rank, options.world_size),
                "start all ranks with the same world size");
  }
  if (record.connections != options.connections_per_peer) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("rank {} opens {} connections per peer, rank {} opens {}", rank,
                            record.connections, options.rank, options.connections_per_peer),
                "use the same number on all ranks");
  }
  return record;
}

}  // namespace gradwire::transport
