#include "collectives/schedule.hpp"

#include <algorithm>
#include <array>
#include <string>

#include <fmt/format.h>

#include "gradwire/error.hpp"

namespace gradwire::collectives {
namespace {

constexpr std::array kCollectives{Collective::allreduce, Collective::reduce_scatter, Collective::allgather,
                                  Collective::broadcast, Collective::barrier};

constexpr std::size_t kOneShotBytes = 8 * 1024;  ///< that the ranks of a host send in all
constexpr std::size_t kTwoShotScatterBytes =
    64 * 1024;                     ///< payload up to which a plain reduce-scatter saves hops
constexpr int kTwoShotRanks = 32;  ///< beyond, a reduce-scatter's p-1 messages a rank cost more than hops

// What the cost model finds quickest at 1 and 10 Gb/s, of tensors of 4 KiB to 64 MiB among up to 512 ranks.
constexpr std::size_t kLeastTwoShotFrame =
    256;                            ///< for each rank at a link: smaller ones cost more than hops
constexpr int kTwoShotAnyway = 64;  ///< parties with one rank each, whose frames are few
/// Plain chunks up to which two-shot gains time over the ring, which does not have all send to one at once.
constexpr std::size_t kMostTwoShotChunk = 32 * 1024;

bool rooted(Collective collective) {
  return collective == Collective::broadcast || collective == Collective::barrier;
}

bool chunk_per_rank(Algorithm algorithm) {
  return algorithm != Algorithm::tree && algorithm != Algorithm::one_shot && !is_hierarchical(algorithm);
}

/// For an allreduce among `parties` with a link of their own each, which `sharers` ranks share.
Algorithm choose_between(std::size_t payload_bytes, bool lossy, int parties, int sharers) {
  const auto links = static_cast<std::size_t>(std::max(parties, 1));
  const auto each = static_cast<std::size_t>(sharers);
  const bool too_long = 2 * links * links * each > kMaxTransfers;
  const bool small = payload_bytes / (links * each) < kLeastTwoShotFrame * each;
  if (too_long || (small && (sharers > 1 || parties > kTwoShotAnyway))) return Algorithm::tree;
  return lossy || payload_bytes / links <= kMostTwoShotChunk ? Algorithm::two_shot : Algorithm::ring;
}

int ranks_of_a_host(int ranks, int hosts) { return hosts > 0 ? (ranks + hosts - 1) / hosts : 1; }

}  // namespace

void check_supported(Collective collective, Algorithm algorithm) {
  if (rooted(collective) || collective == Collective::allreduce || chunk_per_rank(algorithm)) return;
  throw Error(
      ErrorCode::unsupported,
      fmt::format("{} by {}, which has no chunk for each rank", to_string(collective), to_string(algorithm)),
      "use ring, two-shot, halving-doubling or auto");
}

std::size_t count_transfers(Collective collective, Algorithm algorithm, int ranks,
                            std::span<const int> hosts) {
  const std::size_t edges = 2 * static_cast<std::size_t>(ranks - 1);
  if (rooted(collective)) return edges;
  auto nodes = static_cast<std::size_t>(ranks);
  std::size_t stripes = 1;
  if (is_hierarchical(algorithm) && !hosts.empty()) {
    std::vector<std::size_t> ranks_of(nodes, 0);
    for (const int host : hosts) stripes = std::max(stripes, ++ranks_of[static_cast<std::size_t>(host)]);
    nodes = static_cast<std::size_t>(*std::ranges::max_element(hosts)) + 1;
  }
  const std::size_t chunks = between_hosts(algorithm) == Algorithm::tree ? 2 : nodes;
  return edges * chunks * stripes;
}

std::string_view to_string(Collective collective) noexcept {
  switch (collective) {
    case Collective::allreduce: return "allreduce";
    case Collective::reduce_scatter: return "reduce-scatter";
    case Collective::allgather: return "allgather";
    case Collective::broadcast: return "broadcast";
    case Collective::barrier: return "barrier";
  }
  return "unknown";
}

std::string_view to_string(Verb verb) noexcept {
  switch (verb) {
    case Verb::encode: return "encode";
    case Verb::send: return "send";
    case Verb::recv: return "recv";
    case Verb::add: return "add";
    case Verb::assign: return "assign";
    case Verb::finish: return "finish";
  }
  return "unknown";
}

std::string_view to_string(Stage stage) noexcept {
  switch (stage) {
    case Stage::partial: return "partial";
    case Stage::result: return "result";
    case Stage::local: return "local";
  }
  return "unknown";
}

Collective parse_collective(std::string_view name) {
  std::string names;
  for (const Collective collective : kCollectives) {
    if (to_string(collective) == name) return collective;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", to_string(collective));
  }
  throw Error(ErrorCode::invalid_argument, fmt::format("there is no collective '{}'", name),
              fmt::format("use one of {}", names));
}

Schedule make_schedule(Collective collective, Algorithm algorithm, int ranks, int root,
                       std::span<const int> hosts, RankRange listed) {
  if (ranks < 1) {
    throw Error(ErrorCode::invalid_argument, fmt::format("a schedule for {} ranks was asked for", ranks),
                "use at least one rank");
  }
  check_hosts(ranks, hosts);
  check_supported(collective, algorithm);
  if (count_transfers(collective, algorithm, ranks, hosts) > kMaxTransfers) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{} of {} ranks by {} has more steps than this library lists",
                            to_string(collective), ranks, to_string(algorithm)),
                "use fewer ranks, or the tree algorithm");
  }
  const auto scheduled = [&](const Topology& topology) {
    Schedule schedule = lower(topology, collective, listed);
    schedule.hosts.assign(hosts.begin(), hosts.end());
    return schedule;
  };
  if (rooted(collective)) {
    if (root < 0 || root >= ranks) {
      throw Error(ErrorCode::invalid_argument, fmt::format("root {} is not one of {} ranks", root, ranks),
                  fmt::format("use a root between 0 and {}", ranks - 1));
    }
    return scheduled(binomial_topology(ranks, collective == Collective::barrier ? 0 : root));
  }
  return scheduled(make_topology(algorithm, ranks, hosts));
}

Algorithm choose_hierarchical(std::size_t payload_bytes, bool lossy, int ranks, int hosts) noexcept {
  switch (choose_between(payload_bytes, lossy, hosts, ranks_of_a_host(ranks, hosts))) {
    case Algorithm::two_shot: return Algorithm::hierarchical_two_shot;
    case Algorithm::tree: return Algorithm::hierarchical_tree;
    default: return Algorithm::hierarchical_ring;
  }
}

Algorithm choose_algorithm(Collective collective, std::size_t payload_bytes, bool lossy, int ranks,
                           int hosts) noexcept {
  if (rooted(collective)) return Algorithm::tree;
  if (ranks <= 1) return Algorithm::ring;
  if (collective == Collective::allreduce) {
    const bool shared = hosts > 1 && hosts < ranks;
    const int sharers = shared ? ranks_of_a_host(ranks, hosts) : 1;
    const auto copies = static_cast<std::size_t>(ranks - 1) * static_cast<std::size_t>(sharers);
    if (payload_bytes <= kOneShotBytes / copies) return Algorithm::one_shot;
    return shared ? choose_hierarchical(payload_bytes, lossy, ranks, hosts)
                  : choose_between(payload_bytes, lossy, ranks, 1);
  }
  const bool two_shot = lossy || payload_bytes <= kTwoShotScatterBytes;
  return two_shot && ranks <= kTwoShotRanks ? Algorithm::two_shot : Algorithm::ring;
}

}  // namespace gradwire::collectives
