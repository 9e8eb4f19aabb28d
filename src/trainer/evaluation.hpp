#pragma once

#include <optional>

#include "trainer/dataset.hpp"
#include "trainer/mlp.hpp"
#include "trainer/rank_group.hpp"

namespace gradwire::trainer {

/// The share of the whole test set that the model gets right, each rank looking at a part of it; the same on
/// every rank. A rank 0 that is alone looks at all of it, and others that are alone do not look. Collective.
std::optional<double> test_accuracy(RankGroup& ranks, Mlp& model, const Dataset& data);

}  // namespace gradwire::trainer
