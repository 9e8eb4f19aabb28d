#pragma once

#include <string>
#include <vector>

#include "collectives/schedule.hpp"

namespace gradwire::collectives {

/// What is wrong with a schedule, a sentence each. Empty: the law holds.
using Violations = std::vector<std::string>;

/// "rank 2: send chunks [0, 2) ...", for messages.
std::string describe_step(int rank, const Step& step);

/// Runs a schedule on sets of contributions in place of numbers, with queues of any length.
/// Once: a rank encodes each chunk (with layers: its own layer) at most once, hands its running sum away
/// once, and adds nothing to it afterwards; what it hands away goes along one tree. Complete: each
/// contribution reaches each result exactly once, and where a result travels, all ranks take it from the same
/// frame, its encoder included.
Violations check_contributions(const Schedule& schedule);

/// Each send has its receive: between any two ranks both lists name the same frames in the same order.
Violations check_matched(const Schedule& schedule);

/// What schedule.hpp promises about the order within a list: the global key, sends that wait for earlier
/// rounds only, an add or assign directly after its recv, layers in rank order.
Violations check_order(const Schedule& schedule);

/// What a send waits for.
enum class Buffering {
  rendezvous,  ///< for its receiver
  one_frame,   ///< for the one buffer of its pair of ranks and direction to be empty
};

/// Runs the lists strictly in order.
Violations check_progress(const Schedule& schedule, Buffering buffering);

/// All of the above.
Violations check_laws(const Schedule& schedule);

/// [rank][chunk]: frames of that chunk that the rank sends, layers added up.
std::vector<std::vector<int>> count_sends(const Schedule& schedule);

}  // namespace gradwire::collectives
