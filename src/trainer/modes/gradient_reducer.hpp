#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gradwire/reducer.hpp"
#include "trainer/training_mode.hpp"

namespace gradwire::trainer {

/// How large buckets are where the options leave it open.
[[nodiscard]] std::size_t bucket_bytes_in_use(const TrainOptions& options);

/// A Reducer of the loss, if any, and of everything in `arena`, which has the layout of the model's weights,
/// over the ranks of `comm`.
[[nodiscard]] Reducer make_reducer(Communicator& comm, const ModeContext& context, std::span<float> loss,
                                   std::span<float> arena, bool overlap);
/// wait(), and Error(non_finite) that names the step.
void wait_for_gradients(Reducer& reducer, std::uint64_t step);
[[nodiscard]] std::uint64_t wire_bytes_of(const Reducer& reducer);

}  // namespace gradwire::trainer
