#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "collectives/layout.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"

namespace gradwire::collectives {

/// One rank's float32 tensors and residuals. residual[i] is empty where tensor i keeps none.
struct RankData {
  std::vector<std::vector<float>> tensors;
  std::vector<std::vector<float>> residuals;
  bool finite = true;  ///< set by the oracle: false when this rank has seen a non-finite flag
};

struct OracleOptions {
  bool average = false;  ///< divide the sum by the number of ranks; allgather and broadcast have no sum
};

/// Runs all ranks of a schedule in one thread: the definition of the right answer, bit for bit. Tensors
/// become results, residuals what encoding lost. Pass the codec of make_reference_codec. What to do about
/// values that are not finite is the caller's business. Throws Error(invalid_argument) for data that doesn't
/// fit the layout and for a schedule that cannot run.
void run_oracle(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
                const OracleOptions& options, std::span<RankData> ranks);

}  // namespace gradwire::collectives
