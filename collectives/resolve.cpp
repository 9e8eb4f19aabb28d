#include "collectives/resolve.hpp"

#include <array>

#include <fmt/format.h>

#include "gradwire/error.hpp"
#include "wire/header.hpp"

namespace gradwire::collectives {

std::string_view algorithm_name(const Resolved& resolved) noexcept {
  const Collective collective = resolved.schedule.collective;
  const bool binomial = collective == Collective::broadcast || collective == Collective::barrier;
  return binomial ? "binomial" : to_string(resolved.algorithm);
}

Resolved resolve(Collective collective, std::string_view algorithm, const compress::Codec& codec,
                 std::span<const std::size_t> counts, int ranks, int root) {
  constexpr std::array<std::size_t, 1> kOneElement{1};
  if (collective == Collective::barrier) counts = kOneElement;
  std::size_t payload_bytes = 0;
  for (const std::size_t count : counts) payload_bytes += codec.max_payload(count);

  Resolved resolved;
  resolved.algorithm = algorithm == "auto" ? choose_algorithm(collective, payload_bytes, codec.lossy(), ranks)
                                           : parse_algorithm(algorithm);
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
