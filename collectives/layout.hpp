#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "compress/codec.hpp"

namespace gradwire::collectives {

/// A block-aligned range of one tensor.
struct Piece {
  std::uint32_t tensor = 0;
  std::size_t begin = 0;  ///< element; a multiple of the codec's block
  std::size_t count = 0;
};

/// A part of a chunk that travels as one frame: its payload is its pieces' payloads, one after the other.
struct Segment {
  std::uint32_t chunk = 0;
  std::uint32_t index = 0;  ///< within the chunk
  std::uint32_t piece_begin = 0;
  std::uint32_t piece_end = 0;
  std::size_t count = 0;          ///< elements
  std::size_t payload_bound = 0;  ///< bytes
};

/// Where every element of a set of tensors goes: chunks balanced by wire bytes, cut at block boundaries that
/// depend on the element's index in its tensor only; each chunk cut into segments. The same on all ranks.
struct Layout {
  std::vector<Piece> pieces;
  std::vector<Segment> segments;  ///< chunk by chunk
  std::vector<std::uint32_t>
      chunk_segments;  ///< chunk c has segments [chunk_segments[c], chunk_segments[c+1])
};

/// `counts[i]` is the number of elements of tensor i; zero is fine, and so is a chunk with nothing in it.
/// No segment's payload_bound exceeds `segment_payload` unless one block alone does.
Layout make_layout(std::span<const std::size_t> counts, const compress::Codec& codec, int chunk_count,
                   std::size_t segment_payload);

/// The encoded size of tensors of `counts` elements.
std::size_t total_payload(std::span<const std::size_t> counts, const compress::Codec& codec);
/// The encoded size of each chunk.
std::vector<std::size_t> chunk_payloads(const Layout& layout);

/// The payload size to cut segments to: enough of them to keep several in flight, none larger than a frame.
/// `payload_bytes` is the whole part's.
std::size_t choose_segment_payload(std::size_t payload_bytes, int chunk_count) noexcept;

}  // namespace gradwire::collectives
