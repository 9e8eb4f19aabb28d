#pragma once

#include <cstdint>
#include <string>

#include "base/environment.hpp"

namespace gradwire::rendezvous {

/// Where the ranks of a job meet, taken apart. As text: "tcp://host:port", "tcp://[::1]:port",
/// "file:///path", "unix://name", each with optional "?job=NAME&ports=N".
struct StoreUrl {
  enum class Scheme { tcp, unix_socket, file };

  Scheme scheme = Scheme::tcp;
  std::string place;        ///< host, socket name, or path
  std::uint16_t port = 0;   ///< tcp
  std::uint16_t ports = 1;  ///< tcp: the server takes the first free one of this many from `port` on
  std::string job;          ///< only ranks of the same job get in; empty is a job like any other

  [[nodiscard]] std::string text() const;
};

/// Throws Error(invalid_argument).
StoreUrl parse_store_url(const std::string& text);

/// A host or address to which the interface leads that ranks should use among themselves: the host of a
/// tcp:// URL; one of this host's addresses when that name is its own and leads to loopback here only, or
/// when ranks of other hosts may be in the store and it has no address (file://, and the empty URL of a store
/// that a program made itself); empty when all ranks are on this host (unix://) or it has no such address.
/// Throws Error(invalid_argument).
std::string host_towards_store(const std::string& url);

/// Where the ranks of the job that the environment describes meet; empty for a job of one rank. In this
/// order: GRADWIRE_STORE; MASTER_ADDR, at one of the 16 ports after MASTER_PORT; under srun the first node of
/// the list, at one of 16 ports that follow from the job's number; else an abstract socket of this host named
/// by the job. Throws Error(invalid_argument) for a URL or node list that makes no sense, or when ranks are
/// on several hosts and nothing says where to meet.
std::string choose_store_url(const base::Environment& environment);

/// The first name of Slurm's "node[01-04,07],login2": "node01". Throws Error(invalid_argument).
std::string first_node(const std::string& list);

}  // namespace gradwire::rendezvous
