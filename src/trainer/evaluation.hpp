#pragma once

#include "gradwire/communicator.hpp"
#include "trainer/dataset.hpp"
#include "trainer/mlp.hpp"

namespace gradwire::trainer {

/// The share of the whole test set that the model gets right, each rank looking at a part of it. The same on
/// every rank. Collective.
double test_accuracy(Communicator& comm, Mlp& model, const Dataset& data);

}  // namespace gradwire::trainer
