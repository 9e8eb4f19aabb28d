#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "collectives/layout.hpp"
#include "collectives/program.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"
#include "gradwire/inspect.hpp"

namespace gradwire::collectives {

using inspect::Cluster;

/// What a rank's processor spends on a segment, in seconds.
class WorkTimes {
 public:
  WorkTimes(const Cluster& cluster, const compress::Codec& codec) noexcept;

  /// Of an instruction that receives, encodes, adds, assigns or finishes; sends take none.
  [[nodiscard]] double of(Action action, Stage stage, std::size_t elements, bool alias) const noexcept;

 private:
  double plain_;   ///< an element, added or copied as it is
  double encode_;  ///< an element
  double decode_;  ///< an element
};

struct Cost {
  double seconds = 0;              ///< until the last rank has finished
  Volume sent;                     ///< by all ranks
  Volume sent_inside;              ///< of that, to ranks of the same host
  std::uint64_t busiest_link = 0;  ///< wire bytes of the host that sends most to others
  bool every_rank = true;          ///< false: the first host's ranks stand for all
};

/// Runs the programs of all ranks, or of the first host's where the schedule lists no others, on a clock:
/// each rank works on one cell at a time, and a frame takes its turn on its host's way out and on the way
/// into the other host. A schedule that lists one host must be symmetric, with hosts of equal size and chunks
/// of equal segments.
Cost price(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
           const Cluster& cluster);

/// Up to about this many frames every rank is priced, even where one host could stand for all.
inline constexpr std::size_t kPricedFrames = std::size_t{1} << 18U;

/// Throws Error(unsupported) where one of `listed` ranks for each segment, or a frame for each transfer of
/// it, would be more than a simulation holds: some 100 bytes each.
void check_size(Collective collective, Algorithm algorithm, int ranks, std::span<const int> hosts, int listed,
                const Layout& layout);

/// The price of one tensor of `count` elements. With more than `priced_frames`, where hosts resemble each
/// other, one of them is priced, and the tensor is made longer until all chunks have as many blocks. Throws
/// what resolve() and check_size() throw.
Cost price(Collective collective, Algorithm algorithm, const compress::Codec& codec, std::size_t count,
           int ranks, std::span<const int> hosts, const Cluster& cluster,
           std::size_t priced_frames = kPricedFrames);

/// What the links alone take for the fewest bytes that can do it by messages between two hosts, with one
/// owner for each chunk: 2(h-1)/h of the payload through every host's link for an allreduce.
double least_seconds(Collective collective, std::size_t payload_bytes, int ranks, int hosts,
                     const Cluster& cluster) noexcept;

}  // namespace gradwire::collectives
