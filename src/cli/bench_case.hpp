#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gradwire/communicator.hpp"

namespace gradwire::cli {

/// One allreduce to measure: a plan bound to its buffers.
struct BenchCase {
  std::string codec;  ///< in use, after GRADWIRE_CODEC
  bool average = false;
  std::uint64_t seed = 1;
  std::vector<float> values;
  std::vector<float> residual;  ///< empty for "none", which loses nothing
  Plan plan;
};

/// What the table and the JSON say of one case.
struct BenchResult {
  int ranks = 1;
  std::string transport;
  std::string algorithm;
  std::string codec;
  std::uint64_t bytes = 0;
  double min_us = 0;
  double median_us = 0;
  double p99_us = 0;
  std::uint64_t wire_bytes_per_rank = 0;       ///< of the rank that sends most
  std::uint64_t wire_bytes_between_hosts = 0;  ///< of all ranks
  std::optional<bool> identical;               ///< the same bits on all ranks; empty when not checked
  std::optional<bool> equals_oracle;

  [[nodiscard]] double algbw() const { return static_cast<double>(bytes) / median_us * 1e-3; }
  /// What each link would have to carry if plain values were reduced by an algorithm that wastes nothing.
  [[nodiscard]] double busbw() const { return algbw() * 2.0 * (ranks - 1) / ranks; }
};

}  // namespace gradwire::cli
