#include "wire/hello.hpp"

#include <fmt/format.h>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/checksum.hpp"
#include "gradwire/error.hpp"
#include "wire/header.hpp"

namespace gradwire::wire {
namespace {

constexpr std::size_t kCrcBytes = 4;

[[noreturn]] void refuse(const std::string& from, std::string_view what) {
  throw Error(ErrorCode::corrupt_frame, fmt::format("{} said hello with {}", from, what),
              "make sure that only ranks of this job connect here, and check the network");
}

struct Prefix {
  std::uint32_t magic = 0;
  std::uint8_t version = 0;
  std::uint8_t reserved = 0;
  std::uint16_t job_bytes = 0;
};

// Magic, version and length keep their places in every version: a peer of another version is told apart from
// noise.
Prefix read_prefix(std::span<const std::byte> bytes, const std::string& from) {
  base::ByteReader reader(bytes);
  Prefix prefix;
  prefix.magic = reader.read<std::uint32_t>();
  prefix.version = reader.read<std::uint8_t>();
  prefix.reserved = reader.read<std::uint8_t>();
  prefix.job_bytes = reader.read<std::uint16_t>();
  if (!reader.ok()) refuse(from, "too few bytes");
  if (prefix.magic != kHelloMagic) refuse(from, "a wrong magic: it is not a gradwire rank");
  if (prefix.version != kVersion) {
    throw Error(ErrorCode::version_mismatch,
                fmt::format("{} speaks version {} of the protocol, this rank version {}", from,
                            prefix.version, kVersion),
                "install the same gradwire on all hosts");
  }
  if (prefix.reserved != 0) refuse(from, "a reserved byte in use");
  if (prefix.job_bytes > base::kMaxJobBytes) refuse(from, "an overlong job name");
  return prefix;
}

[[noreturn]] void refuse_communicator(const std::string& from, std::uint32_t theirs, std::uint32_t ours) {
  const auto purpose = [](std::uint32_t id) {
    return id == kServiceCommunicator ? "a service" : fmt::format("communicator {}", id);
  };
  if (theirs == kServiceCommunicator || ours == kServiceCommunicator) {
    throw Error(ErrorCode::version_mismatch,
                fmt::format("{} connects for {}, this side for {}", from, purpose(theirs), purpose(ours)),
                "call a service at its own address");
  }
  throw Error(ErrorCode::version_mismatch,
              fmt::format("{} connects for communicator {}, this rank for {}", from, theirs, ours),
              "create communicators in the same order on all ranks");
}

}  // namespace

HelloBytes write_hello(const Hello& hello) {
  if (hello.job.size() > base::kMaxJobBytes) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("the job's name has {} bytes, {} are the most", hello.job.size(), base::kMaxJobBytes),
        "choose a shorter one");
  }
  HelloBytes bytes;
  base::ByteWriter writer(bytes.buffer);
  writer.write(kHelloMagic);
  writer.write(kVersion);
  writer.write(std::uint8_t{0});
  writer.write(static_cast<std::uint16_t>(hello.job.size()));
  writer.write(hello.communicator);
  writer.write(hello.world_size);
  writer.write(hello.rank);
  writer.write(hello.peer);
  writer.write(hello.connection);
  writer.write(hello.connections);
  writer.write(std::uint32_t{0});
  writer.write(hello.token);
  writer.write(hello.layout);
  writer.text(hello.job);
  writer.write(base::crc32c(writer.written()));
  bytes.size = writer.written().size();
  return bytes;
}

std::optional<std::size_t> hello_size(std::span<const std::byte> begin, const std::string& from) {
  if (begin.size() < kHelloPrefixBytes) return std::nullopt;
  return kMinHelloBytes + read_prefix(begin, from).job_bytes;
}

Hello read_hello(std::span<const std::byte> bytes, const std::string& from) {
  const Prefix prefix = read_prefix(bytes, from);
  if (bytes.size() != kMinHelloBytes + prefix.job_bytes) {
    refuse(from, fmt::format("{} bytes where {} belong", bytes.size(), kMinHelloBytes + prefix.job_bytes));
  }
  base::ByteReader tail(bytes.last(kCrcBytes));
  if (tail.read<std::uint32_t>() != base::crc32c(bytes.first(bytes.size() - kCrcBytes))) {
    refuse(from, "a wrong checksum");
  }
  base::ByteReader reader(bytes.subspan(kHelloPrefixBytes));
  Hello hello;
  hello.communicator = reader.read<std::uint32_t>();
  hello.world_size = reader.read<std::uint32_t>();
  hello.rank = reader.read<std::uint32_t>();
  hello.peer = reader.read<std::uint32_t>();
  hello.connection = reader.read<std::uint16_t>();
  hello.connections = reader.read<std::uint16_t>();
  if (reader.read<std::uint32_t>() != 0) refuse(from, "reserved bytes in use");
  hello.token = reader.read<std::uint64_t>();
  hello.layout = reader.read<std::uint64_t>();
  hello.job = reader.text(prefix.job_bytes);
  return hello;
}

void check_hello(const Hello& received, const Hello& expected, const std::string& from) {
  if (received.job != expected.job) {
    throw Error(
        ErrorCode::version_mismatch,
        fmt::format("{} belongs to the job '{}', this rank to '{}'", from, received.job, expected.job),
        expected.communicator == kServiceCommunicator ? "give the option job the name of the servers' job"
                                                      : "give each job a name and a store of its own");
  }
  if (received.communicator != expected.communicator) {
    refuse_communicator(from, received.communicator, expected.communicator);
  }
  if (received.world_size != expected.world_size) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} says that the job has {} ranks, this rank {}", from, received.world_size,
                            expected.world_size),
                "start all ranks with the same world size");
  }
  const auto who =
      received.rank < expected.world_size ? std::optional(static_cast<int>(received.rank)) : std::nullopt;
  if (received.token != expected.token) {
    throw Error(ErrorCode::version_mismatch, fmt::format("{} belongs to another run of this job", from),
                "give each run a fresh store or job name", who);
  }
  if (received.layout != expected.layout) {
    throw Error(ErrorCode::version_mismatch, fmt::format("{} lays shared memory out differently", from),
                "install the same gradwire for all ranks, or use tcp", who);
  }
  if (received.connections != expected.connections) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} opens {} connections per peer, this rank {}", from, received.connections,
                            expected.connections),
                "use the same number on all ranks", who);
  }
  if (received.peer == kNoRank) {
    throw Error(
        ErrorCode::corrupt_frame, fmt::format("{} turned this rank away", from),
        "see its message: this rank's hello was damaged on the way, or another process has the same rank",
        who);
  }
  const bool anybody = expected.peer == expected.rank;
  if (received.rank >= expected.world_size || received.rank == expected.rank ||
      received.peer != expected.rank || (!anybody && received.rank != expected.peer)) {
    refuse(from, fmt::format("rank {} for rank {}, which cannot be here", received.rank, received.peer));
  }
  if (received.connection >= expected.connections) refuse(from, "a connection number out of range");
}

}  // namespace gradwire::wire
