#pragma once

#include <cstdint>
#include <vector>

#include "trainer/agreement.hpp"
#include "trainer/dataset.hpp"
#include "trainer/train_options.hpp"

namespace gradwire::trainer {

/// What all ranks of a run must have been given alike, of a model with layers of these widths, but for the
/// servers' addresses.
[[nodiscard]] std::vector<Setting> common_settings(const TrainOptions& options, const Dataset& data,
                                                   const std::vector<int>& widths, std::uint64_t total_steps);

}  // namespace gradwire::trainer
