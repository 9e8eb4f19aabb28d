#include "collectives/resolve.hpp"

#include <array>

#include <fmt/format.h>

#include "gradwire/error.hpp"
#include "wire/header.hpp"

namespace gradwire::collectives {

std::string_view algorithm_name(Collective collective, Algorithm algorithm) noexcept {
  const bool binomial = collective == Collective::broadcast || collective == Collective::barrier;
  return binomial ? "binomial" : to_string(algorithm);
}

Algorithm resolve_algorithm(Collective collective, std::string_view algorithm, const compress::Codec& codec,
                            std::span<const std::size_t> counts, int ranks) {
  if (algorithm != "auto") return parse_algorithm(algorithm);
  return choose_algorithm(collective, total_payload(counts, codec), codec.lossy(), ranks);
}

Resolved resolve(Collective collective, std::string_view algorithm, const compress::Codec& codec,
                 std::span<const std::size_t> counts, int ranks, int root) {
  constexpr std::array<std::size_t, 1> kOneElement{1};
  if (collective == Collective::barrier) counts = kOneElement;
  const std::size_t payload_bytes = total_payload(counts, codec);

  Resolved resolved;
  resolved.algorithm = resolve_algorithm(collective, algorithm, codec, counts, ranks);
  resolved.schedule = make_schedule(collective, resolved.algorithm, ranks, root);
  const int chunks = resolved.schedule.chunk_count;
  resolved.layout = make_layout(counts, codec, chunks, choose_segment_payload(payload_bytes, chunks));
  for (const Segment& segment : resolved.layout.segments) {
    if (segment.payload_bound <= wire::kMaxPayload) continue;
    throw Error(ErrorCode::unsupported,
                fmt::format("one block of '{}' takes {} bytes, and a frame carries {}", codec.spec(),
                            segment.payload_bound, wire::kMaxPayload),
                "use a smaller block");
  }
  return resolved;
}

}  // namespace gradwire::collectives
