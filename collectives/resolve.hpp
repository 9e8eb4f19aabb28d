#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "collectives/layout.hpp"
#include "collectives/schedule.hpp"
#include "compress/codec.hpp"

namespace gradwire::collectives {

/// What a request comes down to, the same on all ranks.
struct Resolved {
  Algorithm algorithm = Algorithm::ring;  ///< what was asked for, "auto" resolved
  Schedule schedule;
  Layout layout;
};

/// "ring", ...; "binomial" for the collectives that know one algorithm only.
std::string_view algorithm_name(Collective collective, Algorithm algorithm) noexcept;

/// Only the name: "auto" becomes what choose_algorithm says, "hierarchical" what choose_hierarchical does.
Algorithm resolve_algorithm(Collective collective, std::string_view algorithm, const compress::Codec& codec,
                            std::span<const std::size_t> counts, int ranks, std::span<const int> hosts = {});

/// Throws Error(unsupported) when a block of tensors of `counts` elements does not fit into a frame.
void check_blocks(Collective collective, Algorithm algorithm, const compress::Codec& codec,
                  std::span<const std::size_t> counts, std::span<const int> hosts);

/// What resolve() lays out: the tensors cut into `chunks` chunks and into segments that fit into a frame, at
/// every stage. Throws what check_blocks does.
Layout lay_out(Collective collective, Algorithm algorithm, const compress::Codec& codec,
               std::span<const std::size_t> counts, int chunks, std::span<const int> hosts);

/// Resolves `algorithm` ("auto" allowed) for tensors of `counts` elements that share a codec, makes the
/// schedule, of the ranks of `listed`, and lays it out. A barrier carries one element, whatever the counts.
/// Throws Error: invalid_argument for an unknown algorithm, rank count, root or hosts, unsupported for what
/// make_schedule refuses and for a codec whose block does not fit into a frame.
Resolved resolve(Collective collective, std::string_view algorithm, const compress::Codec& codec,
                 std::span<const std::size_t> counts, int ranks, int root = 0,
                 std::span<const int> hosts = {}, RankRange listed = {});

}  // namespace gradwire::collectives
