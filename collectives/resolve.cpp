#include "collectives/resolve.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "gradwire/error.hpp"
#include "wire/header.hpp"

namespace gradwire::collectives {

namespace {

constexpr std::size_t kMaxPlainElements = wire::kMaxPayload / sizeof(float);

/// Whether any frame is raw because it does not leave its host.
bool stays_inside(Collective collective, Algorithm algorithm, std::span<const int> hosts) {
  if (collective != Collective::allreduce || !is_hierarchical(algorithm) || hosts.empty()) return false;
  return static_cast<std::size_t>(*std::ranges::max_element(hosts)) + 1 < hosts.size();
}

}  // namespace

std::string_view algorithm_name(Collective collective, Algorithm algorithm) noexcept {
  const bool binomial = collective == Collective::broadcast || collective == Collective::barrier;
  return binomial ? "binomial" : to_string(algorithm);
}

Algorithm resolve_algorithm(Collective collective, std::string_view algorithm, const compress::Codec& codec,
                            std::span<const std::size_t> counts, int ranks, std::span<const int> hosts) {
  const int nodes = hosts.empty() ? ranks : *std::ranges::max_element(hosts) + 1;
  if (algorithm != "auto" && algorithm != "hierarchical") return parse_algorithm(algorithm);
  const std::size_t payload = total_payload(counts, codec);
  if (algorithm == "hierarchical") return choose_hierarchical(payload, codec.lossy(), ranks, nodes);
  return choose_algorithm(collective, payload, codec.lossy(), ranks, nodes);
}

void check_blocks(Collective collective, Algorithm algorithm, const compress::Codec& codec,
                  std::span<const std::size_t> counts, std::span<const int> hosts) {
  const std::size_t largest = counts.empty() ? 0 : *std::ranges::max_element(counts);
  const std::size_t block = std::min(codec.block(), largest);
  const bool plain = stays_inside(collective, algorithm, hosts);
  const std::size_t bytes = std::max(codec.max_payload(block), plain ? sizeof(float) * block : 0);
  if (bytes <= wire::kMaxPayload) return;
  throw Error(ErrorCode::unsupported,
              fmt::format("one block of '{}' takes {} bytes{}, and a frame carries {}", codec.spec(), bytes,
                          plain ? " inside a host" : "", wire::kMaxPayload),
              "use a smaller block");
}

Layout lay_out(Collective collective, Algorithm algorithm, const compress::Codec& codec,
               std::span<const std::size_t> counts, int chunks, std::span<const int> hosts) {
  check_blocks(collective, algorithm, codec, counts, hosts);
  std::size_t segment_payload = choose_segment_payload(total_payload(counts, codec), chunks);
  // A frame inside a host carries the same elements as one between hosts, uncompressed.
  if (stays_inside(collective, algorithm, hosts)) {
    segment_payload = std::min(segment_payload, codec.max_payload(kMaxPlainElements));
  }
  return make_layout(counts, codec, chunks, segment_payload);
}

Resolved resolve(Collective collective, std::string_view algorithm, const compress::Codec& codec,
                 std::span<const std::size_t> counts, int ranks, int root, std::span<const int> hosts,
                 RankRange listed) {
  constexpr std::array<std::size_t, 1> kOneElement{1};
  if (collective == Collective::barrier) counts = kOneElement;

  Resolved resolved;
  resolved.algorithm = resolve_algorithm(collective, algorithm, codec, counts, ranks, hosts);
  resolved.schedule = make_schedule(collective, resolved.algorithm, ranks, root, hosts, listed);
  resolved.layout =
      lay_out(collective, resolved.algorithm, codec, counts, resolved.schedule.chunk_count, hosts);
  return resolved;
}

}  // namespace gradwire::collectives
