#pragma once

#include <string>

#include "collectives/cost_model.hpp"
#include "collectives/layout.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"

namespace gradwire::collectives {

/// One rank's steps as a time-independent trace of SimGrid's, a line for each action, for hosts that do
/// `flops` operations a second. A trace has an order where the executor takes what comes: segments follow
/// each other a round apart, sends are not waited for before the end, and receives are posted a few frames
/// ahead.
std::string replay_trace(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
                         const Cluster& cluster, double flops, int rank);

}  // namespace gradwire::collectives
