#pragma once

#include <cstdint>
#include <string>

namespace gradwire::rendezvous {

/// Where the ranks of a job meet, taken apart. As text: "tcp://host:port", "tcp://[::1]:port",
/// "file:///path", "unix://name", "mpi://", each with optional "?job=NAME", tcp with "?ports=N", too.
struct StoreUrl {
  /// mpi: where rank 0 serves is what MPI tells.
  enum class Scheme { tcp, unix_socket, file, mpi };

  Scheme scheme = Scheme::tcp;
  std::string place;        ///< host, socket name, or path; nothing for mpi
  std::uint16_t port = 0;   ///< tcp
  std::uint16_t ports = 1;  ///< tcp: the server takes the first free one of this many from `port` on
  std::string job;          ///< only ranks of the same job get in; empty is a job like any other

  [[nodiscard]] std::string text() const;
};

/// Throws Error(invalid_argument).
StoreUrl parse_store_url(const std::string& text);

}  // namespace gradwire::rendezvous
