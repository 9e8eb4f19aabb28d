#include "collectives/cost_model.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "collectives/event_simulation.hpp"
#include "collectives/resolve.hpp"
#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

/// Of segments of ranks, and of frames: either takes up to some 3 GB.
constexpr std::size_t kMostSimulated = std::size_t{1} << 25U;

/// The tensor made a little longer, so that all chunks are equal; 0 where some would be without a block.
std::size_t equal_chunks(std::size_t count, std::size_t block, int chunks) {
  const auto all = static_cast<std::size_t>(chunks);
  if (count / block < all) return 0;
  const std::size_t blocks = (count + block - 1) / block;
  return (blocks + all - 1) / all * all * block;
}

}  // namespace

WorkTimes::WorkTimes(const Cluster& cluster, const compress::Codec& codec) noexcept
    : plain_(sizeof(float) / cluster.plain_rate),
      encode_(codec.identity() ? plain_ : sizeof(float) / cluster.encode_rate),
      decode_(codec.identity() ? plain_ : sizeof(float) / cluster.decode_rate) {}

double WorkTimes::of(Action action, Stage stage, std::size_t elements, bool alias) const noexcept {
  const auto count = static_cast<double>(elements);
  const bool local = stage == Stage::local;
  switch (action) {
    case Action::send: return 0;
    case Action::encode: return alias ? 0 : count * (local ? plain_ : encode_);
    case Action::assign_own: return alias ? 0 : count * decode_;
    case Action::finish: return count * plain_;
    default: return count * (local ? plain_ : decode_);
  }
}

Cost price(const Schedule& schedule, const Layout& layout, const compress::Codec& codec,
           const Cluster& cluster) {
  EventSimulation simulation(schedule, layout, codec, cluster);
  return simulation.run();
}

void check_size(Collective collective, Algorithm algorithm, int ranks, std::span<const int> hosts, int listed,
                const Layout& layout) {
  const auto segments = layout.segments.size();
  const auto chunks = layout.chunk_segments.size() - 1;
  const auto transfers = count_transfers(collective, algorithm, ranks, hosts) *
                         static_cast<std::size_t>(listed) / static_cast<std::size_t>(ranks);
  const auto frames = transfers * ((segments + chunks - 1) / chunks);
  if (std::max(segments * static_cast<std::size_t>(listed), frames) <= kMostSimulated) return;
  throw Error(ErrorCode::unsupported,
              fmt::format("{} by {} among {} ranks, {} of them simulated, of a tensor of {} segments would "
                          "not fit into memory",
                          to_string(collective), to_string(algorithm), ranks, listed, segments),
              "use a smaller tensor, fewer ranks, or a core for each, so that one host may stand for all");
}

Cost price(Collective collective, Algorithm algorithm, const compress::Codec& codec, std::size_t count,
           int ranks, std::span<const int> hosts, const Cluster& cluster, std::size_t priced_frames) {
  check_supported(collective, algorithm);
  std::array<std::size_t, 1> counts{count};
  const int host_size = equal_host_size(ranks, hosts);
  const bool rooted = collective == Collective::broadcast || collective == Collective::barrier;
  // Ranks that wait for cores don't all do the same at the same time.
  const bool wait = cluster.cores > 0 && cluster.cores < ranks;
  if (!rooted && host_size > 0 && !wait) {
    const Topology topology = make_topology(algorithm, ranks, hosts);
    const std::size_t rounded = equal_chunks(count, codec.block(), topology.chunk_count);
    if (topology.chunk_cycle > 0 && rounded > 0) {
      counts.front() = rounded;
      const Layout layout = lay_out(collective, algorithm, codec, counts, topology.chunk_count, hosts);
      const std::size_t chunk_frames = layout.chunk_segments[1];
      if (count_transfers(collective, algorithm, ranks, hosts) * chunk_frames > priced_frames) {
        check_size(collective, algorithm, ranks, hosts, host_size, layout);
        Schedule schedule = lower(topology, collective, {.begin = 0, .end = host_size});
        schedule.hosts.assign(hosts.begin(), hosts.end());
        return price(schedule, layout, codec, cluster);
      }
      counts.front() = count;
    }
  }
  const Resolved resolved = resolve(collective, to_string(algorithm), codec, counts, ranks, 0, hosts);
  check_size(collective, algorithm, ranks, hosts, ranks, resolved.layout);
  return price(resolved.schedule, resolved.layout, codec, cluster);
}

double least_seconds(Collective collective, std::size_t payload_bytes, int ranks, int hosts,
                     const Cluster& cluster) noexcept {
  const int parties = hosts > 1 ? hosts : ranks;
  const double rate = hosts > 1 ? cluster.link_rate : cluster.inside_rate;
  const double share = static_cast<double>(parties - 1) / parties;
  const double once = static_cast<double>(payload_bytes) / rate;
  switch (collective) {
    case Collective::allreduce: return 2 * share * once;
    case Collective::reduce_scatter:
    case Collective::allgather: return share * once;
    case Collective::broadcast: return parties > 1 ? once : 0;
    case Collective::barrier: return 0;
  }
  return 0;
}

}  // namespace gradwire::collectives
