#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "gradwire/export.hpp"

namespace gradwire {

/// A small key-value store through which the ranks of a job find each other. Frameworks that have one
/// (PyTorch's c10d::Store, say) hand theirs in by deriving from this; otherwise the library opens its own.
/// Thread-safe.
class GRADWIRE_EXPORT Store {
 public:
  virtual ~Store() = default;

  /// Publishes `value` (any bytes) under `key`; a second set of the same key replaces the first.
  virtual void set(const std::string& key, const std::string& value) = 0;

  /// The value of `key`, waiting up to `timeout` for somebody to set it; nullopt when the time is over.
  /// Throws Error (system, peer_lost) when the store itself cannot be reached.
  virtual std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) = 0;
};

/// A store for ranks that are threads of one process.
GRADWIRE_EXPORT std::shared_ptr<Store> make_memory_store();

/// A store at `url`: "tcp://host:port" (rank 0 serves it from a background thread, the others connect),
/// "file:///path" (a file that all ranks can lock), "unix://name" (one host, an abstract socket that rank 0
/// serves). "mpi://", where MPI tells the ranks where rank 0 serves, is for open_store() of a communicator's
/// options. Throws Error (invalid_argument, system, timeout, unsupported).
GRADWIRE_EXPORT std::shared_ptr<Store> open_store(const std::string& url, int rank,
                                                  std::chrono::milliseconds timeout);

}  // namespace gradwire
