#include "collectives/resolve.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "gradwire/error.hpp"
#include "wire/header.hpp"

namespace gradwire::collectives {

namespace {

constexpr std::size_t kMaxPlainElements = wire::kMaxPayload / sizeof(float);

}  // namespace

std::string_view algorithm_name(Collective collective, Algorithm algorithm) noexcept {
  const bool binomial = collective == Collective::broadcast || collective == Collective::barrier;
  return binomial ? "binomial" : to_string(algorithm);
}

Algorithm resolve_algorithm(Collective collective, std::string_view algorithm, const compress::Codec& codec,
                            std::span<const std::size_t> counts, int ranks, std::span<const int> hosts) {
  if (algorithm == "hierarchical") {
    const int nodes = hosts.empty() ? ranks : *std::ranges::max_element(hosts) + 1;
    return choose_hierarchical(codec.lossy(), nodes);
  }
  if (algorithm != "auto") return parse_algorithm(algorithm);
  return choose_algorithm(collective, total_payload(counts, codec), codec.lossy(), ranks);
}

Resolved resolve(Collective collective, std::string_view algorithm, const compress::Codec& codec,
                 std::span<const std::size_t> counts, int ranks, int root, std::span<const int> hosts) {
  constexpr std::array<std::size_t, 1> kOneElement{1};
  if (collective == Collective::barrier) counts = kOneElement;
  const std::size_t payload_bytes = total_payload(counts, codec);

  Resolved resolved;
  resolved.algorithm = resolve_algorithm(collective, algorithm, codec, counts, ranks, hosts);
  resolved.schedule = make_schedule(collective, resolved.algorithm, ranks, root, hosts);
  const int chunks = resolved.schedule.chunk_count;
  std::size_t segment_payload = choose_segment_payload(payload_bytes, chunks);
  // A frame inside a host carries the same elements as one between hosts, uncompressed.
  const bool plain = is_hierarchical(resolved.algorithm) && collective == Collective::allreduce;
  if (plain) segment_payload = std::min(segment_payload, codec.max_payload(kMaxPlainElements));
  resolved.layout = make_layout(counts, codec, chunks, segment_payload);
  for (const Segment& segment : resolved.layout.segments) {
    const std::size_t bytes =
        plain ? std::max(segment.payload_bound, sizeof(float) * segment.count) : segment.payload_bound;
    if (bytes <= wire::kMaxPayload) continue;
    throw Error(ErrorCode::unsupported,
                fmt::format("one block of '{}' takes {} bytes{}, and a frame carries {}", codec.spec(), bytes,
                            plain ? " inside a host" : "", wire::kMaxPayload),
                "use a smaller block");
  }
  return resolved;
}

}  // namespace gradwire::collectives
