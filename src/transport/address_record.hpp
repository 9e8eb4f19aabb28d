#pragma once

#include <cstdint>
#include <string>

#include "transport/transport.hpp"

namespace gradwire::transport {

/// What a rank publishes about itself in the store: where others reach it.
struct AddressRecord {
  std::uint32_t world_size = 0;
  std::uint16_t connections = 1;
  std::uint64_t token = 0;  ///< of this run; comes back in the hello
  std::string host;         ///< host_identity()
  std::string group;        ///< ranks of the same group try shared memory
  std::string unix_name;    ///< abstract socket; empty: no shared memory wanted
  std::string tcp_host;     ///< numeric; empty: no tcp wanted
  std::uint16_t tcp_port = 0;
  std::string process;      ///< process_identity(); for UCX only
  std::string ucx_version;  ///< of the UCX it uses; empty: no UCX wanted
  std::string ucx_address;  ///< for UCX only

  friend bool operator==(const AddressRecord&, const AddressRecord&) = default;
};

[[nodiscard]] std::string write_record(const AddressRecord& record);

/// Throws Error: corrupt_frame, version_mismatch, invalid_argument when the rank disagrees on the world's
/// size or on the number of connections.
[[nodiscard]] AddressRecord read_record(const std::string& bytes, int rank, const EndpointOptions& options);

}  // namespace gradwire::transport
