#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_vector.hpp"
#include "cli/bench_server_case.hpp"
#include "gradwire/communicator.hpp"
#include "gradwire/parameter_server.hpp"

namespace gradwire::cli {

/// What a repetition took on this worker.
struct Repetition {
  double seconds = 0;
  std::uint64_t wire_bytes = 0;  ///< sent and received
};

/// A worker that moves keys of one size to and from servers, in step with the other workers: all make the
/// same calls in the same order. Not thread-safe.
class BenchServerWorker {
 public:
  /// Joins, and makes the keys known. `workers` are the ranks that begin a step together.
  BenchServerWorker(const ParameterServerClientOptions& options, Communicator& workers,
                    std::uint64_t key_bytes, std::size_t keys);

  /// One step in which every worker pushes, pulls, or both, the first so many keys; ends when that is
  /// complete. For a pull alone all is pushed before, for otherwise the servers would have nothing new.
  Repetition repeat(ServerOp op, std::size_t keys);
  /// Waits until all servers know that every worker has finished the last step: what they are asked for from
  /// then on is all that they do.
  void settle();

 private:
  std::span<float> part(base::AlignedVector<float>& all, std::size_t key) const;
  void push(std::size_t keys);
  [[nodiscard]] std::uint64_t wire_bytes() const;

  Communicator& workers_;
  std::size_t count_;  ///< of a key's elements
  std::vector<std::string> names_;
  base::AlignedVector<float> values_;
  base::AlignedVector<float> gradients_;
  base::AlignedVector<float> probe_;  ///< the value of a key that nobody pushes to
  ParameterServerClient client_;      ///< goes before what it was lent
};

}  // namespace gradwire::cli
