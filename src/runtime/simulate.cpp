#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "collectives/cost_model.hpp"
#include "collectives/replay_trace.hpp"
#include "collectives/resolve.hpp"
#include "compress/codec.hpp"
#include "gradwire/error.hpp"
#include "gradwire/inspect.hpp"

namespace gradwire::inspect {
namespace {

constexpr int kMostRanks = 4096;  ///< whose trees take half a gigabyte
constexpr std::size_t kMostElements = std::size_t{1} << 32U;

void require(bool good, const std::string& what, const std::string& advice) {
  if (!good) throw Error(ErrorCode::invalid_argument, what, advice);
}

void check(const Cluster& cluster, int ranks, std::size_t count) {
  require(ranks >= 1 && ranks <= kMostRanks, fmt::format("a simulation of {} ranks was asked for", ranks),
          fmt::format("use 1 to {}", kMostRanks));
  require(count <= kMostElements, fmt::format("a simulation of a tensor of {} elements was asked for", count),
          fmt::format("use at most {}", kMostElements));
  const std::array rates{std::pair{"link", cluster.link_rate}, std::pair{"inside", cluster.inside_rate},
                         std::pair{"plain", cluster.plain_rate}, std::pair{"encode", cluster.encode_rate},
                         std::pair{"decode", cluster.decode_rate}};
  for (const auto& [name, rate] : rates) {
    require(std::isfinite(rate) && rate > 0, fmt::format("the {} rate {} makes no sense", name, rate),
            "use a number of bytes a second above 0");
  }
  for (const double time : {cluster.latency, cluster.inside_latency, cluster.frame_time}) {
    require(std::isfinite(time) && time >= 0, fmt::format("a time of {} s makes no sense", time),
            "use 0 or more");
  }
  require(cluster.cores >= 0, fmt::format("{} cores were to be shared", cluster.cores),
          "use 1 or more, or 0 where each rank has its own");
}

}  // namespace

Simulation simulate(const std::string& collective, const std::string& algorithm, const std::string& codec,
                    int ranks, std::size_t count, const Cluster& cluster, const std::vector<int>& hosts) {
  check(cluster, ranks, count);
  const auto kind = collectives::parse_collective(collective);
  const auto parsed = compress::make_codec(codec);
  const std::array<std::size_t, 1> counts{kind == collectives::Collective::barrier ? 1 : count};
  collectives::check_hosts(ranks, hosts);
  const int host_count = hosts.empty() ? ranks : *std::ranges::max_element(hosts) + 1;
  const auto resolved = collectives::resolve_algorithm(kind, algorithm, *parsed, counts, ranks, hosts);
  const auto cost = collectives::price(kind, resolved, *parsed, counts.front(), ranks, hosts, cluster);
  return {.algorithm = std::string(collectives::algorithm_name(kind, resolved)),
          .codec = parsed->spec(),
          .hosts = host_count,
          .seconds = cost.seconds,
          .bound_seconds = collectives::least_seconds(kind, collectives::total_payload(counts, *parsed),
                                                      ranks, host_count, cluster),
          .inside_bytes = cost.sent_inside.wire_bytes(),
          .between_bytes = cost.sent.wire_bytes() - cost.sent_inside.wire_bytes(),
          .busiest_link_bytes = cost.busiest_link,
          .frames = cost.sent.frames,
          .every_rank = cost.every_rank};
}

void replay_traces(const std::string& collective, const std::string& algorithm, const std::string& codec,
                   int ranks, std::size_t count, const Cluster& cluster, const std::vector<int>& hosts,
                   double flops, const std::function<void(int, const std::string&)>& take) {
  check(cluster, ranks, count);
  require(std::isfinite(flops) && flops > 0, fmt::format("hosts of {} operations a second", flops),
          "use a number above 0");
  const auto kind = collectives::parse_collective(collective);
  const auto parsed = compress::make_codec(codec);
  const std::array<std::size_t, 1> counts{kind == collectives::Collective::barrier ? 1 : count};
  const auto resolved = collectives::resolve(kind, algorithm, *parsed, counts, ranks, 0, hosts);
  collectives::check_size(kind, resolved.algorithm, ranks, hosts, ranks, resolved.layout);
  for (int rank = 0; rank < ranks; ++rank) {
    take(rank, collectives::replay_trace(resolved.schedule, resolved.layout, *parsed, cluster, flops, rank));
  }
}

}  // namespace gradwire::inspect
