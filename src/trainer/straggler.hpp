#pragma once

#include <cstdint>
#include <string>

#include "trainer/random.hpp"

namespace gradwire::trainer {

/// Who is slow on purpose: "RANK:FACTOR" makes every step of one rank that many times as long,
/// "random:FACTOR:PROBABILITY" random steps of random ranks.
struct StragglerOptions {
  int rank = -1;  ///< whose steps are all slow; -1: nobody's
  double factor = 1;
  double probability = 0;  ///< of any rank's step
};

/// Empty text: nobody. Throws Error(invalid_argument).
[[nodiscard]] StragglerOptions parse_straggler(const std::string& text);

/// Makes steps last: at least so long, and longer where the rank straggles.
class StepPacer {
 public:
  StepPacer(const StragglerOptions& options, double min_step_ms, int rank, std::uint64_t seed);

  /// The computing of a step has taken so long: sleeps for what is missing of what it is to take.
  void stretch(double seconds);

 private:
  StragglerOptions options_;
  double least_;
  int rank_;
  Random random_;
};

}  // namespace gradwire::trainer
